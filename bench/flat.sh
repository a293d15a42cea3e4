#!/usr/bin/env bash
# CPU a job (worker and store) with a long backlog against a short one, in alternating rounds: what a job costs must not
# grow with what else waits. Half of the backlog waits at a lower priority, the other half behind in the same line.
#
# ROUNDS=5 STORE=redis SMALL=10000 BACKLOG=1000000 JOBS=200000 CONCURRENCY=50 WRITE=1 bench/flat.sh
# (With 50,000 jobs Redis would grow the table of its keys, at 1,048,576 of them, while the long backlog is measured.)
# (STORE=sqlite, memory, postgres.  WINDLASS=path: another binary than the release build.)  Ends with 1 if it grows by more than WITHIN %: 10, on Postgres 15.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/postgres.sh
. bench/results.sh

rounds=${ROUNDS:-5} store=${STORE:-redis} small=${SMALL:-10000} backlog=${BACKLOG:-1000000} jobs=${JOBS:-200000}
concurrency=${CONCURRENCY:-50} within=${WITHIN:-$([ "$store" = postgres ] && echo 15 || echo 10)}
binary
place=$(mktemp -d)
trap 'stop_redis; stop_postgres; rm -rf "$place"' EXIT

measure() { # backlog: the CPU of one job, worker and store
    local where=()
    case $store in
        sqlite) ;; # without a store it takes SQLite in a temporary folder
        redis) start_redis "$place"; where=(--store "$redis_url") ;; # a new one each time: memory that was used is slower
        postgres) start_postgres "$place"; where=(--store "$postgres_url") ;;
        *) where=(--store "$store:") ;;
    esac
    "$WINDLASS" bench "${where[@]}" --phase drain --jobs "$jobs" --backlog "$1" --concurrency "$concurrency" --json \
        --log-level error | figures | awk -F '\t' -v backlog="$1" '{ print backlog, $10 + $11, $10, $11 + 0, $7 }' >>"$place/found"
    stop_redis
    stop_postgres
}

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    measure "$small"
    measure "$backlog"
done

summary() {
    echo "| backlog | CPU us/job: median (range) | of the worker | of the store | jobs/s |"
    echo "| --- | --- | --- | --- | --- |"
    sort -k1,1n -k2,2n "$place/found" | awk -v small="$small" -v within="$within" '
        function flush(   m, f, low, high) {
            if (!n) return
            m = int((n + 1) / 2)
            split(lines[m], f, " "); split(lines[1], low, " "); split(lines[n], high, " ")
            printf "| %d | %.1f (%.1f-%.1f) | %.1f | %.1f | %.0f |\n", f[1], f[2], low[2], high[2], f[3], f[4], f[5]
            cost[f[1]] = f[2]; n = 0; last = f[1]
        }
        $1 != key { flush(); key = $1 }
        { lines[++n] = $0 }
        END {
            flush()
            grown = (cost[last] / cost[small] - 1) * 100
            printf "\nCPU a job at the long backlog: %+.1f %%, %s\n", grown, grown <= within ? "within " within " %" : "MISSED"
        }'
}
summary | tee "$place/summary"
if [ -n "${WRITE:-}" ]; then
    {
        echo "Made by \`ROUNDS=$rounds STORE=$store SMALL=$small BACKLOG=$backlog JOBS=$jobs CONCURRENCY=$concurrency WRITE=1 bench/flat.sh\`"
        echo "on $(machine). Delivery was exact in each round."
        echo
        cat "$place/summary"
    } | write_section "flat-$store"
fi
! grep -q MISSED "$place/summary"
