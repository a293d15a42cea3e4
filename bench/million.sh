#!/usr/bin/env bash
# A million jobs in one SQLite file, or in one PostgreSQL: put in through the binary, looked at while they wait, run, and pruned. Prints how
# long each step took and the most memory the worker used; fails when a job is missing or a step leaves something behind.
#
# JOBS=1000000 STORE=postgres bench/million.sh      (WINDLASS=path: another binary than the release build)
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/postgres.sh

jobs=${JOBS:-1000000}
if [ -z "${WINDLASS:-}" ]; then
    cargo build --locked --release -p windlass-cli
    WINDLASS=${CARGO_TARGET_DIR:-target}/release/windlass
fi
windlass=$WINDLASS
place=$(mktemp -d)
worker=
finish() {
    [ -z "$worker" ] || kill -9 "$worker" 2>/dev/null || true
    stop_postgres
    rm -rf "$place"
}
trap finish EXIT
case ${STORE:-sqlite} in
    sqlite) export WINDLASS_STORE=sqlite:$place/jobs.db ;;
    postgres) start_postgres "$place"; export WINDLASS_STORE=$postgres_url ;;
    *) echo "STORE is sqlite or postgres" >&2; exit 2 ;;
esac

timed() { # name, command...: its output goes to $place/out
    local name=$1 began
    shift
    began=$(date +%s.%N)
    "$@" >"$place/out"
    awk -v name="$name" -v began="$began" -v ended="$(date +%s.%N)" \
        'BEGIN { printf "%-42s %8.2f s\n", name, ended - began }'
}

# Every second one is kept after it has run, so that pruning has something to do.
lines() {
    seq "$jobs" | awk '{ printf "{\"kind\":\"noop\",\"id\":\"job-%d\",\"retention\":\"%s\",\"payload\":{\"number\":%d}}\n",
        $1, $1 % 2 ? "1d" : "0s", $1 }'
}

expect() { # what, wanted: a number of `stats --json`
    local found
    found=$("$windlass" stats --json | tr -d ' \n' | awk -v name="\"$1\":" \
        'match($0, name "[0-9]+") { print substr($0, RSTART + length(name), RLENGTH - length(name)); exit }')
    [ "$found" = "$2" ] || { echo "$1 should be $2 and is $found" >&2; exit 1; }
}

lines >"$place/batch"
timed "enqueue --batch, $jobs jobs" "$windlass" enqueue --batch "$place/batch" --json
[ "$(grep -c '"duplicate":false' "$place/out")" = "$jobs" ] || { echo "not every job was acknowledged" >&2; exit 1; }
timed "the same batch again, all duplicates" "$windlass" enqueue --batch "$place/batch" --json
[ "$(grep -c '"duplicate":true' "$place/out")" = "$jobs" ] || { echo "not every repeat was a duplicate" >&2; exit 1; }
expect pending "$jobs"
timed "stats" "$windlass" stats --json
timed "queue list" "$windlass" queue list --json
timed "job list, the first 1,000" "$windlass" job list --limit 1000 --json
timed "job inspect, the last" "$windlass" job inspect "job-$jobs" --json
# Nobody works on them, and it says so.
"$windlass" doctor >/dev/null && { echo "doctor should miss a worker" >&2; exit 1; }

printf 'concurrency = 50\n[kinds.noop]\nbuiltin = "noop"\n' >"$place/config.toml"
began=$(date +%s.%N)
"$windlass" work --drain --config "$place/config.toml" --log-level error >/dev/null &
worker=$!
memory=0
while [ -d "/proc/$worker" ]; do
    now=$(awk '/VmHWM/ { print $2 }' "/proc/$worker/status" 2>/dev/null || true)
    memory=${now:-$memory}
    sleep 0.2
done
wait "$worker"
worker=
awk -v jobs="$jobs" -v began="$began" -v ended="$(date +%s.%N)" -v memory="$memory" 'BEGIN {
    printf "%-42s %8.2f s, %d jobs/s, %.1f MiB at most\n", "work --drain, concurrency 50", ended - began,
        jobs / (ended - began), memory / 1024 }'
expect enqueued "$jobs"
expect removed "$((jobs / 2))"
expect pending 0
timed "job list --state completed, 1,000" "$windlass" job list --state completed --limit 1000 --json
timed "prune, $((jobs - jobs / 2)) jobs" "$windlass" prune --older-than 0s --state completed
expect removed "$jobs"
echo "$jobs jobs: each acknowledged, run and removed once"
