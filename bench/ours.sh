#!/usr/bin/env bash
# Measures memory, SQLite, Redis (a server of its own, without persistence) and PostgreSQL (a server of its own, at its
# defaults) with `windlass bench`, in alternating rounds, and prints median and range of each figure; beside the enqueue on
# Postgres, a bare INSERT by as many callers. Every figure comes with exact delivery; a round that lost a job or ran one
# twice ends the script.
#
# ROUNDS=5 JOBS=100000 CONCURRENCY=10,50 CALLERS=1,10,50 PHASES=all STORES="memory sqlite redis postgres" WRITE=1 bench/ours.sh
# (WRITE=1: also into bench/RESULTS.md.  WINDLASS=path: another binary than the release build)
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/postgres.sh
. bench/results.sh

rounds=${ROUNDS:-5} concurrency=${CONCURRENCY:-10,50} callers=${CALLERS:-1,10,50} phases=${PHASES:-all}
stores=${STORES:-memory sqlite redis postgres}
binary
place=$(mktemp -d)
trap 'stop_redis; stop_postgres; rm -rf "$place"' EXIT
if [[ " $stores " == *" redis "* ]]; then start_redis "$place"; fi
if [[ " $stores " == *" postgres "* ]]; then start_postgres "$place"; fi

measure() { # store, phase
    local store=() count=()
    case $1 in
        sqlite) ;; # without a store it takes SQLite in a temporary folder
        redis) store=(--store "$redis_url") ;;
        postgres) store=(--store "$postgres_url") ;;
        *) store=(--store "$1:") ;;
    esac
    # At a hundred a second, a number that is meant for the other phases would take long.
    if [ "$2" != latency ] && [ -n "${JOBS:-}" ]; then count=(--jobs "$JOBS"); fi
    case $2 in
        enqueue) count+=(--callers "$callers") ;;
        drain | latency) count+=(--concurrency "$concurrency") ;;
    esac
    "$WINDLASS" bench "${store[@]}" "${count[@]}" --phase "$2" --json --log-level error | figures >>"$place/figures"
    [ "$1 $2" = "postgres enqueue" ] || return 0
    for width in ${callers//,/ }; do bare_insert "${JOBS:-10000}" "$width" | figures >>"$place/figures"; done
}

[ "$phases" != all ] || phases="enqueue bulk drain latency"
for round in $(seq "$rounds"); do
    for store in $stores; do
        echo "round $round of $rounds: $store" >&2
        for phase in $phases; do measure "$store" "$phase"; done
    done
done

sort -s -t $'\t' -k3,3 -k4,4 -k5,5n "$place/figures" >"$place/sorted"
report "$place/sorted"
if [ -n "${WRITE:-}" ]; then
    {
        echo "Made by \`ROUNDS=$rounds CONCURRENCY=$concurrency CALLERS=$callers STORES=\"$stores\" WRITE=1 bench/ours.sh\` on $(machine);"
        echo "$(rustc --version), $(redis-server --version 2>/dev/null | cut -d ' ' -f 1-3 || echo no Redis),"
        echo "$([ -z "$postgres_url" ] && echo no PostgreSQL || postgres_version). Alternating"
        echo "rounds on one machine; ratios count, absolute figures drift. Delivery was exact in each."
        echo
        report "$place/sorted"
        echo
        cut -f 3,14 "$place/figures" | sort -u | sed 's/\t/: /; s/^/- /'
    } | write_section ours
fi
