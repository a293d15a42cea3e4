#!/usr/bin/env bash
# What a claim costs a PostgreSQL server while somebody's snapshot is open and no dead row can be removed: a steady stream of
# jobs, first for STEP seconds with nobody's snapshot, then for MINUTES with one. A row of the table for each STEP seconds.
#
# MINUTES=5 RATE=800 STEP=30 bench/pinned.sh   (WINDLASS=path: another binary than the release build)
# Ends with 1 if a claim of the last row takes more than twice as long as one of the first, or if jobs were left behind.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/postgres.sh
. bench/results.sh

minutes=${MINUTES:-5} rate=${RATE:-800} step=${STEP:-30}
binary
place=$(mktemp -d)
ours=()
finish() {
    for process in "${ours[@]}"; do kill "$process" 2>/dev/null || true; done
    stop_postgres
    rm -rf "$place"
}
trap finish EXIT
start_postgres "$place" -c track_functions=pl
export WINDLASS_STORE=$postgres_url
ask() { "$postgres_bin/psql" "$postgres_url" -XqAt -F ' ' -c "$1"; }

printf 'concurrency = 50\n[kinds.nap]\nbuiltin = "sleep"\n' >"$place/config.toml"
"$WINDLASS" work --config "$place/config.toml" --log-level error >/dev/null &
ours+=($!)
# By the clock, so that a late turn is made up for.
feed() {
    local began sent=0 due
    began=$(date +%s%N)
    while :; do
        due=$((($(date +%s%N) - began) * rate / 1000000000))
        for ((; sent < due; sent++)); do echo '{"kind":"nap","payload":{"ms":0}}'; done
        sleep 0.05
    done
}
feed > >("$WINDLASS" enqueue --batch - >/dev/null 2>"$place/feed.log") &
ours+=($!)

# What claims have cost so far, and what has come and gone.
so_far() {
    ask "SELECT calls, total_time, (SELECT sum(enqueued) FROM windlass.line_count),
        (SELECT sum(removed) FROM windlass.line_count),
        (SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'windlass' AND relname = 'job')
        FROM pg_stat_user_functions WHERE schemaname = 'windlass' AND funcname = 'claim_jobs'"
}
measure() { # open or closed
    local before after
    before=$(so_far)
    sleep "$step"
    after=$(so_far)
    echo "$before $after $1" | awk -v step="$step" '{ printf "| %s | %.0f | %.0f | %.3f | %d | %d |\n", $11,
        ($9 - $4) / step, ($6 - $1) / step, ($7 - $2) / ($6 - $1), $8 - $9, $10 }' | tee -a "$place/table"
}

sleep 5
echo "| snapshot | jobs/s | claims/s | ms a claim | jobs waiting or running | dead rows of job |"
echo "| --- | --- | --- | --- | --- | --- |"
measure closed
"$postgres_bin/psql" "$postgres_url" -XqAt -c "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SELECT pg_sleep($((minutes * 60 + 60)))" >/dev/null &
ours+=($!)
sleep 1
for ((at = 0; at < minutes * 60; at += step)); do measure open; done
awk -F '|' -v rate="$rate" 'NR == 1 { first = $5 } { last = $5; left = $6 }
    END { bad = last > 2 * first || left > rate
        printf "\nA claim takes %.2f times as long as with no snapshot: %s\n", last / first, bad ? "MISSED" : "within 2x"; exit bad }' "$place/table"
