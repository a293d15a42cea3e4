#!/usr/bin/env bash
# Throughput and exact delivery while a worker is killed (kill -9) every 2 seconds. Two workers on one SQLite file, one
# Redis or one PostgreSQL; the killed one is started again at once. First undisturbed, then disturbed; fails if a job was lost or finished twice.
#
# JOBS=60000 CONCURRENCY=50 MS=20 EVERY=2 STORE=redis bench/disturbed.sh      (STORE=postgres.  WINDLASS=path: another binary than the release build)
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/postgres.sh
. bench/results.sh

jobs=${JOBS:-60000} concurrency=${CONCURRENCY:-50} ms=${MS:-20} every=${EVERY:-2}

binary
windlass=$WINDLASS
place=$(mktemp -d)
declare -A workers=()

finish() {
    for worker in "${workers[@]}"; do kill -9 "$worker" 2>/dev/null || true; done
    stop_redis
    stop_postgres
    wait
    rm -rf "$place"
}
trap finish EXIT
case ${STORE:-sqlite} in
    sqlite) ;;
    redis) start_redis "$place" ;;
    postgres) start_postgres "$place" ;;
    *) echo "STORE is sqlite, redis or postgres" >&2; exit 2 ;;
esac

# The first field of this name on stdin.
number() { awk -v name="\"$1\":" 'match($0, name "[0-9]+") { print substr($0, RSTART + length(name), RLENGTH - length(name)) }'; }

start() { # worker's name
    "$windlass" work --config "$place/config.toml" --drain --log-level error >/dev/null &
    workers[$1]=$!
}

drained() { [ "$("$windlass" stats --json | tr -d ' \n' | number completed)" -ge "$jobs" ]; }

# One run; prints its seconds. $1: undisturbed or disturbed
run() {
    # A place of its own for each run.
    export WINDLASS_STORE=sqlite:$place/$1.db
    [ -z "$redis_url" ] || WINDLASS_STORE=$redis_url?prefix=$1
    [ -z "$postgres_url" ] || WINDLASS_STORE=$postgres_url?schema=$1
    printf 'concurrency = %s\nlease = "2s"\n[kinds.nap]\nbuiltin = "sleep"\n' "$concurrency" >"$place/config.toml"
    seq "$jobs" | sed "s/.*/{\"kind\":\"nap\",\"payload\":{\"ms\":$ms}}/" | "$windlass" enqueue --batch - >"$place/answers"
    [ "$(wc -l <"$place/answers")" = "$jobs" ] || { echo "not every enqueue was acknowledged" >&2; exit 1; }

    local began kills=0 next victim=0
    began=$(date +%s%N)
    next=$((began + every * 1000000000))
    start 0
    start 1
    until drained; do
        if [ "$1" = disturbed ] && [ "$(date +%s%N)" -ge "$next" ]; then
            kill -9 "${workers[$victim]}" 2>/dev/null && kills=$((kills + 1)) || true
            wait "${workers[$victim]}" 2>/dev/null || true
            start "$victim"
            victim=$((1 - victim))
            next=$((next + every * 1000000000))
        fi
        sleep 0.2
    done
    took=$((($(date +%s%N) - began) / 1000000))
    for name in 0 1; do wait "${workers[$name]}" || true; done
    workers=()

    local stats completed failed enqueued removed pending running
    stats=$("$windlass" stats --json | tr -d ' \n')
    completed=$(number completed <<<"$stats") failed=$(number failed <<<"$stats")
    enqueued=$(number enqueued <<<"$stats") removed=$(number removed <<<"$stats")
    pending=$(number pending <<<"$stats") running=$(number running <<<"$stats")
    echo "$1: $completed completed of $jobs, $failed failed, $pending pending, $running running, $kills kills," \
        "$((jobs * 1000 / took)) jobs/s"
    if [ "$completed $failed $enqueued $removed $pending $running" != "$jobs 0 $jobs $jobs 0 0" ]; then
        echo "delivery is not exact: $stats" >&2
        exit 1
    fi
}

run undisturbed
calm=$took
run disturbed
echo "throughput with a kill every $every s: $((calm * 100 / took)) % of undisturbed"
