#!/usr/bin/env bash
# A flood: JOBS jobs that are due in the same moment, and from then on 100 fresh ones a second into the same queue. How long
# fresh ones wait until they start, and how fast the due ones are worked off; beside it, how fast as many are that were
# pending from the start. Fresh ones are to start within WITHIN ms (99 of 100), else it ends with 1.
#
# STORE=sqlite JOBS=1000000 CONCURRENCY=50 WITHIN=50 WRITE=1 bench/flood.sh
# (STORE=memory, redis, postgres.  WRITE=1: also into bench/RESULTS.md.  WINDLASS=path: another binary than the release build.)
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/postgres.sh
. bench/results.sh

store=${STORE:-sqlite} jobs=${JOBS:-1000000} concurrency=${CONCURRENCY:-50} within=${WITHIN:-50}
binary
place=$(mktemp -d)
trap 'stop_redis; stop_postgres; rm -rf "$place"' EXIT

measure() { # phase
    local where=()
    case $store in
        sqlite) ;; # without a store it takes SQLite in a temporary folder
        redis) start_redis "$place"; where=(--store "$redis_url") ;; # a new one each time: memory that was used is slower
        postgres) start_postgres "$place"; where=(--store "$postgres_url") ;;
        *) where=(--store "$store:") ;;
    esac
    "$WINDLASS" bench "${where[@]}" --phase "$1" --jobs "$jobs" --concurrency "$concurrency" --json --log-level error |
        figures >>"$place/found"
    stop_redis
    stop_postgres
}
measure flood
measure drain

summary() {
    awk -F '\t' -v within="$within" '
        { rate[$4] = $7 }
        $4 == "flood" { jobs = $6; p50 = $8; p99 = $9 }
        END {
            print "| due at once | fresh ones start after: p50 | p99 | due jobs/s | the same, pending from the start |"
            print "| --- | --- | --- | --- | --- |"
            printf "| %d | %.1f ms | %.1f ms | %.0f | %.0f (%.0f %%) |\n", jobs, p50, p99, rate["flood"], rate["drain"],
                rate["flood"] / rate["drain"] * 100
            printf "\np99 %s %s ms\n", p99 <= within ? "within" : "MISSED:", within
        }' "$place/found"
}
summary | tee "$place/summary"
if [ -n "${WRITE:-}" ]; then
    {
        echo "Made by \`STORE=$store JOBS=$jobs CONCURRENCY=$concurrency WRITE=1 bench/flood.sh\`"
        echo "on $(machine), load $(cut -d ' ' -f 1 /proc/loadavg). Delivery was exact."
        echo
        cat "$place/summary"
    } | write_section "flood-$store"
fi
! grep -q MISSED "$place/summary"
