#!/usr/bin/env bash
# Measures memory, SQLite and Redis (a server of its own, without persistence) with `windlass bench`, in alternating rounds,
# and prints median and range of each figure. Every figure comes with exact delivery; a round that lost a job or ran one
# twice ends the script.
#
# ROUNDS=5 JOBS=100000 CONCURRENCY=10,50 STORES="memory sqlite redis" WRITE=1 bench/ours.sh
# (WRITE=1: also into bench/RESULTS.md.  WINDLASS=path: another binary than the release build)
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/results.sh

rounds=${ROUNDS:-5} concurrency=${CONCURRENCY:-10,50} stores=${STORES:-memory sqlite redis}
binary
place=$(mktemp -d)
trap 'stop_redis; rm -rf "$place"' EXIT
if [[ " $stores " == *" redis "* ]]; then start_redis "$place"; fi

measure() { # store
    local store=() count=()
    case $1 in
        sqlite) ;; # without a store it takes SQLite in a temporary folder
        redis) store=(--store "$redis_url") ;;
        *) store=(--store "$1:") ;;
    esac
    [ -z "${JOBS:-}" ] || count=(--jobs "$JOBS")
    "$WINDLASS" bench "${store[@]}" "${count[@]}" --concurrency "$concurrency" --json --log-level error
}

for round in $(seq "$rounds"); do
    for store in $stores; do
        echo "round $round of $rounds: $store" >&2
        measure "$store" | figures >>"$place/figures"
    done
done

sort -s -t $'\t' -k3,3 -k4,4 -k5,5n "$place/figures" >"$place/sorted"
report "$place/sorted"
if [ -n "${WRITE:-}" ]; then
    {
        echo "Made by \`ROUNDS=$rounds CONCURRENCY=$concurrency STORES=\"$stores\" WRITE=1 bench/ours.sh\` on $(machine);"
        echo "$(rustc --version), $(redis-server --version 2>/dev/null | cut -d ' ' -f 1-3 || echo no Redis). Alternating"
        echo "rounds on one machine; ratios count, absolute figures drift. Delivery was exact in each."
        echo
        report "$place/sorted"
        echo
        cut -f 3,14 "$place/figures" | sort -u | sed 's/\t/: /; s/^/- /'
    } | write_section ours
fi
