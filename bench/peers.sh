#!/usr/bin/env bash
# Measures ours beside its peers, in alternating rounds: on Redis (a server of its own, without persistence) Go's Asynq and
# BullMQ, on PostgreSQL (a server of its own, at its defaults) Go's River, Graphile Worker and a bare INSERT, on SQLite
# apalis. Prints median and range of each figure, the CPU of the store a job, and how many times as fast ours is. Every run
# counts its jobs; one that lost a job or ran one twice ends the script.
#
# A driver is a program of its own in bench/peers/ (own lock file) that prints one JSON document a figure, with the names of
# `windlass bench --json`. Those that cannot be built here are left out, and it is said.
#
# ROUNDS=5 JOBS=100000 CONCURRENCY=10,50 CALLERS=1,10,50 MODES=default,tuned
# PEERS="asynq bullmq river graphile apalis-sqlite" PHASES="drain enqueue bulk latency" WRITE=1 bench/peers.sh
# (WINDLASS=path: another binary than the release build.  SECTION=name: another section of RESULTS.md than `peers`)
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/postgres.sh
. bench/results.sh

rounds=${ROUNDS:-5} jobs=${JOBS:-100000} concurrency=${CONCURRENCY:-10,50} modes=${MODES:-default,tuned}
phases=${PHASES:-drain enqueue bulk latency} callers=${CALLERS:-1,10,50}
wanted=${PEERS:-asynq bullmq river graphile apalis-sqlite}
target=bench/peers/target
mkdir -p "$target"
build=$(realpath "$target")

build_peer() { # its name
    case $1 in
        asynq) (cd bench/peers/asynq && go build -o "$build/asynq" .) ;;
        river) (cd bench/peers/river && go build -o "$build/river" .) ;;
        # The system's Node is too old for it: its packages bring one. npm warns that itself runs in the old one.
        graphile) (cd bench/peers/graphile-worker && npm ci --ignore-scripts --no-audit --no-fund --loglevel error >&2 &&
            node_modules/.bin/node -e 'import("graphile-worker")') ;;
        bullmq) (cd bench/peers/bullmq && npm ci --ignore-scripts --no-audit --no-fund >&2 && node -e 'import("bullmq")') ;;
        apalis-sqlite) cargo build --locked --release --manifest-path bench/peers/apalis-sqlite/Cargo.toml --target-dir "$target" ;;
        *) echo "there is no driver for $1" >&2; return 1 ;;
    esac
}

on_redis=() on_postgres=() apalis=''
for name in $wanted; do
    echo "building $name" >&2
    if ! build_peer "$name"; then
        echo "$name cannot be built here; it is left out" >&2
        continue
    fi
    case $name in
        apalis-sqlite) apalis=$target/release/apalis-sqlite ;;
        river | graphile) on_postgres+=("$name") ;;
        *) on_redis+=("$name") ;;
    esac
done
[ -n "${on_redis[*]}${on_postgres[*]}$apalis" ] || { echo "no peer can be built here" >&2; exit 1; }
binary

place=$(mktemp -d)
trap 'stop_redis; stop_postgres; rm -rf "$place"' EXIT
[ -z "${on_redis[*]}" ] || start_redis "$place"
[ -z "${on_postgres[*]}" ] || start_postgres "$place"

least() { echo "$(($1 < $2 ? $1 : $2))"; }

jobs_of() { # store, phase, peer and mode: fewer where so many would take long
    case "$1 $2 ${3:-}" in
        *" enqueue "*) if [ "$1" = postgres ]; then least "$jobs" 3000; else least "$jobs" 20000; fi ;;
        *" latency "*) least "$jobs" 500 ;;
        # As shipped, River starts as many jobs as it has workers ten times a second.
        "postgres drain river default") least "$jobs" 2000 ;;
        "postgres drain graphile default") least "$jobs" 10000 ;;
        *) echo "$jobs" ;;
    esac
}

ours() { # store, its URL or nothing, phase
    local store=() phase=$3 widths=(--concurrency "$concurrency")
    [ -z "$2" ] || store=(--store "$2")
    [ "$phase" != enqueue ] || widths=(--callers "$callers")
    "$WINDLASS" bench "${store[@]}" --phase "$phase" --jobs "$(jobs_of "$1" "$phase")" "${widths[@]}" --json \
        --log-level error | figures >>"$place/figures"
}

peer() { # name, phase
    local program store url mode list=$modes
    # Asynq puts in one job at a time.
    [ "$1 $2" != "asynq bulk" ] || return 0
    case $1 in
        asynq | river) program=("$target/$1") ;;
        bullmq) program=(node bench/peers/bullmq/main.mjs) ;;
        graphile) program=(bench/peers/graphile-worker/node_modules/.bin/node bench/peers/graphile-worker/main.mjs) ;;
    esac
    case $1 in
        asynq | bullmq) store=redis url=$redis_url ;;
        *) store=postgres url=$postgres_url ;;
    esac
    # Graphile Worker has one more: it is about as fast as its local queue is long.
    [ "$1 $2" != "graphile drain" ] || list=${modes/tuned/tuned,wide}
    for mode in ${list//,/ }; do
        "${program[@]}" "--$store" "$url" --phase "$2" --mode "$mode" --jobs "$(jobs_of "$store" "$2" "$1 $mode")" \
            --concurrency "$concurrency" --callers "$callers" | figures >>"$place/figures"
    done
}

for round in $(seq "$rounds"); do
    for phase in $phases; do
        echo "round $round of $rounds: $phase" >&2
        [ -z "${on_redis[*]}" ] || ours redis "$redis_url" "$phase"
        for name in "${on_redis[@]}"; do peer "$name" "$phase"; done
        [ -z "${on_postgres[*]}" ] || ours postgres "$postgres_url" "$phase"
        if [ -n "${on_postgres[*]}" ] && [ "$phase" = enqueue ]; then
            for width in ${callers//,/ }; do
                bare_insert "$(jobs_of postgres enqueue)" "$width" | figures >>"$place/figures"
            done
        fi
        for name in "${on_postgres[@]}"; do peer "$name" "$phase"; done
    done
    if [ -n "$apalis" ]; then
        for phase in bulk drain; do ours sqlite "" "$phase"; done
        for width in ${concurrency//,/ }; do "$apalis" "$jobs" "$width" | figures >>"$place/figures"; done
    fi
done

: >"$place/versions"
[ -z "$redis_url" ] || redis-cli -u "$redis_url" INFO server | tr -d '\r' |
    awk -F : '/^redis_version/ { print "Redis " $2 ", no persistence" }' >>"$place/versions"
[ -z "$postgres_url" ] || postgres_version >>"$place/versions"
cut -f 1,13 "$place/figures" | sort -u | awk -F '\t' '$2 != "" { print $1 " " $2 }' >>"$place/versions"
sort -s -t $'\t' -k3,3 -k4,4 -k5,5n "$place/figures" >"$place/sorted"
summary() {
    echo "$(machine);"
    paste -s -d '|' "$place/versions" | sed 's/|/; /g; s/$/./'
    echo "Alternating rounds (ours, then each peer), each phase in a process of its own; delivery was exact in each."
    echo
    report "$place/sorted"
}
summary
if [ -n "${WRITE:-}" ]; then
    {
        echo "Made by \`ROUNDS=$rounds JOBS=$jobs CONCURRENCY=$concurrency CALLERS=$callers MODES=$modes PEERS=\"$wanted\" WRITE=1 bench/peers.sh\` on"
        summary
    } | write_section "${SECTION:-peers}"
fi
