#!/usr/bin/env bash
# Three workers on one SQLite file, one Redis or one PostgreSQL, with the default lease; every EVERY seconds one is killed (kill -9)
# and started again, while jobs keep coming in. Then everything is drained, and what happened is checked from the workers' event files
# and from the store:
#   I1 every acknowledged job ends completed     I4 no outcome is accepted from an older claim than the newest
#   I2 one accepted outcome a job                I5 a second claim comes only after the first one's lease is over
#   I3 fences rise with every claim of a job     I6 enqueued = sum over states + removed
#   and whatever a killed worker held runs elsewhere within 15 s of the kill.
#
# KILLS=10 MINUTES=0 bench/chaos.sh     ends after both; also: CONCURRENCY=20 MS=50 EVERY=2 SEED=1 STORE=redis
# or STORE=postgres (a server of its own; it is the workers that are killed).
# WINDLASS=path: another binary than the release build.  KEEP=1: leaves the event files.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/postgres.sh
. bench/results.sh

kills_wanted=${KILLS:-10} minutes=${MINUTES:-0} concurrency=${CONCURRENCY:-20} ms=${MS:-50} every=${EVERY:-2}
chunk=2000 low=2000
RANDOM=${SEED:-1}

binary
windlass=$WINDLASS
place=$(mktemp -d)
case ${STORE:-sqlite} in
    sqlite) export WINDLASS_STORE=sqlite:$place/jobs.db ;;
    redis) start_redis "$place"; export WINDLASS_STORE=$redis_url ;;
    postgres) start_postgres "$place"; export WINDLASS_STORE=$postgres_url ;;
    *) echo "STORE is sqlite, redis or postgres" >&2; exit 2 ;;
esac
declare -A workers=()
declare -A files=()
starts=0 kills=0 jobs=0

finish() {
    for worker in "${workers[@]}"; do kill -9 "$worker" 2>/dev/null || true; done
    stop_redis
    stop_postgres
    wait
    [ -n "${KEEP:-}" ] && echo "event files: $place" >&2 || rm -rf "$place"
}
trap finish EXIT

# The first field of this name on stdin.
number() { awk -v name="\"$1\":" 'match($0, name "[0-9]+") { print substr($0, RSTART + length(name), RLENGTH - length(name)); exit }'; }

start() { # worker's name
    starts=$((starts + 1))
    files[$1]=$place/events-$starts
    "$windlass" work --config "$place/config.toml" --events "${files[$1]}" --log-level error >/dev/null &
    workers[$1]=$!
}

kill_one() {
    local victim=$((RANDOM % 3))
    # The moment before: no run may seem to begin sooner than its worker died.
    echo "$(date +%s.%N) ${files[$victim]}" >>"$place/kills"
    kill -9 "${workers[$victim]}"
    wait "${workers[$victim]}" 2>/dev/null || true
    kills=$((kills + 1))
    start "$victim"
}

enqueue() { # chunk: enqueued and acknowledged
    seq "$((jobs + 1))" "$((jobs + chunk))" |
        sed "s/.*/{\"kind\":\"nap\",\"id\":\"job-&\",\"retention\":\"1d\",\"payload\":{\"ms\":$ms}}/" |
        "$windlass" enqueue --batch - --json >"$place/answers"
    [ "$(grep -c '"duplicate":false' "$place/answers")" = "$chunk" ] || { echo "not every enqueue was acknowledged" >&2; exit 1; }
    jobs=$((jobs + chunk))
}

printf 'concurrency = %s\n[kinds.nap]\nbuiltin = "sleep"\n' "$concurrency" >"$place/config.toml"
: >"$place/kills"
enqueue
for name in 0 1 2; do start "$name"; done
began=$(date +%s)
next=$((began + every))
while [ "$kills" -lt "$kills_wanted" ] || [ "$(date +%s)" -lt "$((began + minutes * 60))" ]; do
    pending=$("$windlass" stats --json | tr -d ' \n' | number pending)
    [ "$pending" -ge "$low" ] || enqueue
    if [ "$(date +%s)" -ge "$next" ]; then
        kill_one
        next=$((next + every))
    else
        sleep 0.2
    fi
done
ended() {
    local stats
    stats=$("$windlass" stats --json | tr -d ' \n')
    [ "$(($(number pending <<<"$stats") + $(number running <<<"$stats")))" = 0 ]
}
until ended; do sleep 0.2; done
# A clean end writes the last events.
for name in 0 1 2; do kill "${workers[$name]}"; done
for name in 0 1 2; do wait "${workers[$name]}"; done
workers=()
took=$(($(date +%s) - began))

# The store: I1 and I6.
stats=$("$windlass" stats --json | tr -d ' \n')
by_state=${stats#*\"by_state\":\{}
states=$(tr ',' '\n' <<<"${by_state%%\}*}" | awk -F: '{ sum += $2 } END { print sum + 0 }')
completed=$(number completed <<<"${by_state%%\}*}") dead=$(number dead <<<"${by_state%%\}*}") enqueued=$(number enqueued <<<"$stats") removed=$(number removed <<<"$stats")
echo "$jobs jobs in $took s, $kills kills: $completed completed, $((states - completed)) in other states, $removed removed"
# Of hundreds of kills some meet the same job three times, by chance, and it is poison, as it should be; of ten none.
poison=$("$windlass" job list --state dead --limit 1000 --json | { grep -o '"reason":"poison"' || true; } | wc -l)
if [ "$enqueued $states $removed $((completed + dead)) $poison" != "$jobs $jobs 0 $jobs $dead" ] ||
    { [ "$kills" -le 10 ] && [ "$dead" -gt 0 ]; }; then
    echo "I1, I6: the store should hold $jobs completed jobs and nothing else: $stats" >&2
    exit 1
fi

# The events: I2 to I5, and the time from each kill to the next run of what the worker held. One line an event:
# id, fence, event, seconds, file, terminal.
awk '
    function field(name,   found) {
        if (!match($0, "\"" name "\":(\"[^\"]*\"|[^,}]*)")) return ""
        found = substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
        gsub(/"/, "", found)
        return found
    }
    # RFC 3339 in UTC to seconds (days_from_civil of the proleptic Gregorian calendar).
    function seconds(at,   y, m, d, era, yoe, doy) {
        y = substr(at, 1, 4) + 0; m = substr(at, 6, 2) + 0; d = substr(at, 9, 2) + 0
        if (m <= 2) y--
        era = int(y / 400); yoe = y - era * 400
        doy = int((153 * (m + (m > 2 ? -3 : 9)) + 2) / 5) + d - 1
        return (era * 146097 + yoe * 365 + int(yoe / 4) - int(yoe / 100) + doy - 719468) * 86400 \
            + substr(at, 12, 2) * 3600 + substr(at, 15, 2) * 60 + substr(at, 18)
    }
    # A killed worker may have written half a line.
    !/}$/ { next }
    { at = field("at"); sub(/Z$/, "", at)
      printf "%s %s %s %.6f %s %s\n", field("id"), field("fence"), field("event"), seconds(at), FILENAME, field("state") }
' "$place"/events-* | LC_ALL=C sort -k1,1 -k2,2 -k4,4 >"$place/sorted"

awk -v lease=10 -v within=15 -v kills="$place/kills" -f bench/judge.awk "$place/sorted"
