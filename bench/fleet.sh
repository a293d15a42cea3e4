#!/usr/bin/env bash
# Two workers of Rust and two of Go on one queue of a Redis of its own; every EVERY seconds one of them, Go and Rust in
# turn, is killed (kill -9) and started again, while jobs keep coming in from both sides. Then everything is drained, and
# what happened is checked from the workers' event files (fleet.awk: I2 to I5) and from the store: I1, every acknowledged
# job ends completed, and I6, the sums over the states are right, as Go counts them, too.
#
# MINUTES=1 EVERY=2 CONCURRENCY=5 MS=100 SEED=1 bench/fleet.sh
# WINDLASS=path: another binary than the release build.  KEEP=1: leaves the event files.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/results.sh

minutes=${MINUTES:-1} every=${EVERY:-2} concurrency=${CONCURRENCY:-5} ms=${MS:-100}
chunk=500 low=500
RANDOM=${SEED:-1}

binary
windlass=$WINDLASS
place=$(mktemp -d)
go=$place/go
(cd interop && go build -o "$go" .)
declare -A workers=() files=()
starts=0 kills=0 jobs=0

finish() {
    for worker in "${workers[@]}"; do kill -9 "$worker" 2>/dev/null || true; done
    stop_redis
    wait
    [ -n "${KEEP:-}" ] && echo "event files: $place" >&2 || rm -rf "$place"
}
trap finish EXIT

start_redis "$place" --appendonly yes
url=$redis_url/0
export WINDLASS_STORE=$url

# The first field of this name on stdin.
number() { awk -v name="\"$1\":" 'match($0, name "[0-9]+") { print substr($0, RSTART + length(name), RLENGTH - length(name)); exit }'; }

start() { # worker's name
    starts=$((starts + 1))
    files[$1]=$place/events-$starts
    case $1 in
    rust*) "$windlass" work --config "$place/config.toml" --events "${files[$1]}" --log-level error >/dev/null & ;;
    go*) "$go" "$url" work default "$concurrency" "${files[$1]}" & ;;
    esac
    workers[$1]=$!
}

kill_one() {
    local names=(rust-0 go-0 rust-1 go-1)
    local victim=${names[$((kills % 4))]}
    # The moment before: no run may seem to begin sooner than its worker died.
    echo "$(date +%s.%N) ${files[$victim]}" >>"$place/kills"
    kill -9 "${workers[$victim]}"
    wait "${workers[$victim]}" 2>/dev/null || true
    kills=$((kills + 1))
    start "$victim"
}

enqueue() { # a chunk from each side, acknowledged
    seq "$((jobs + 1))" "$((jobs + chunk))" |
        sed "s/.*/{\"kind\":\"nap\",\"id\":\"job-&\",\"retention\":\"1d\",\"payload\":{\"ms\":$ms}}/" |
        "$windlass" enqueue --batch - --json >"$place/answers"
    [ "$(grep -c '"duplicate":false' "$place/answers")" = "$chunk" ] || { echo "not every enqueue was acknowledged" >&2; exit 1; }
    "$go" "$url" fill default nap "$chunk" "$ms"
    jobs=$((jobs + 2 * chunk))
}

printf 'concurrency = %s\n[kinds.nap]\nbuiltin = "sleep"\n' "$concurrency" >"$place/config.toml"
: >"$place/kills"
enqueue
for name in rust-0 rust-1 go-0 go-1; do start "$name"; done
began=$(date +%s)
next=$((began + every))
while [ "$(date +%s)" -lt "$((began + minutes * 60))" ]; do
    pending=$("$windlass" stats --json | tr -d ' \n' | number pending)
    [ "$pending" -ge "$low" ] || enqueue
    if [ "$(date +%s)" -ge "$next" ]; then
        kill_one
        next=$((next + every))
    else
        sleep 0.2
    fi
done
# What a killed Go worker held is back a minute later, as a failed attempt.
left() { "$windlass" stats --json | tr -d ' \n' | awk '{ n = 0; while (match($0, /"(pending|running|scheduled|retrying)":[0-9]+/)) { f = substr($0, RSTART, RLENGTH); sub(/.*:/, "", f); n += f; $0 = substr($0, RSTART + RLENGTH) } print n }'; }
patience=$(($(date +%s) + 240))
until [ "$(left)" = 0 ]; do
    [ "$(date +%s)" -lt "$patience" ] || { echo "jobs are stuck: $("$windlass" stats --json)" >&2; exit 1; }
    sleep 0.5
done
for name in "${!workers[@]}"; do kill "${workers[$name]}"; done
for name in "${!workers[@]}"; do wait "${workers[$name]}" || true; done
workers=()

stats=$("$windlass" stats --json | tr -d ' \n')
by_state=${stats#*\"by_state\":\{}
states=$(tr ',' '\n' <<<"${by_state%%\}*}" | awk -F: '{ sum += $2 } END { print sum + 0 }')
completed=$(number completed <<<"${by_state%%\}*}") removed=$(number removed <<<"$stats")
of_go=$(redis-cli -u "$url" zcard 'asynq:{default}:completed')
echo "$jobs jobs in $(($(date +%s) - began)) s, $kills kills: $completed completed ($of_go as Go counts), $((states - completed)) in other states, $removed removed"
if [ "$completed $states $removed $of_go" != "$jobs $jobs 0 $jobs" ]; then
    echo "I1, I6: the store should hold $jobs completed jobs and nothing else: $stats" >&2
    exit 1
fi

# One line an event: id, seconds, event, fence, file, state. A killed worker may have written half a line.
awk '
    function field(name,   found) {
        if (!match($0, "\"" name "\":(\"[^\"]*\"|[^,}]*)")) return "-"
        found = substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
        gsub(/"/, "", found)
        return found
    }
    !/}$/ { next }
    { at = field("at")
      split(substr(at, 12), t, /[:Z]/)
      day = substr(at, 9, 2) + 0
      if (first == "") first = day
      printf "%s %.6f %s %s %s %s\n", field("id"), (day != first) * 86400 + t[1] * 3600 + t[2] * 60 + t[3], field("event"), field("fence"), FILENAME, field("state") }
' "$place"/events-* | LC_ALL=C sort -k1,1 -k2,2n >"$place/sorted"
midnight=$(date -u -d "$(date -u -d "@$began" +%F)" +%s)
awk -v midnight="$midnight" '{ printf "%.6f %s\n", $1 - midnight, $2 }' "$place/kills" >"$place/killed"
awk -v lease=10 -v go_lease=30 -v kills="$place/killed" -f bench/fleet.awk "$place/sorted"
