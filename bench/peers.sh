#!/usr/bin/env bash
# Measures ours beside its peers, in alternating rounds: on Redis (a server of its own, without persistence) Go's Asynq and
# BullMQ, on SQLite apalis. Prints median and range of each figure, the CPU of the store a job, and how many times as fast
# ours is. Every run counts its jobs; one that lost a job or ran one twice ends the script.
#
# A driver is a program of its own in bench/peers/ (own lock file) that prints one JSON document a figure, with the names of
# `windlass bench --json`. Those that cannot be built here are left out, and it is said.
#
# ROUNDS=5 JOBS=100000 CONCURRENCY=10,50 MODES=default,tuned PEERS="asynq bullmq apalis-sqlite"
# PHASES="drain enqueue bulk latency" WRITE=1 bench/peers.sh      (WINDLASS=path: another binary than the release build)
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/results.sh

rounds=${ROUNDS:-5} jobs=${JOBS:-100000} concurrency=${CONCURRENCY:-10,50} modes=${MODES:-default,tuned}
phases=${PHASES:-drain enqueue bulk latency} wanted=${PEERS:-asynq bullmq apalis-sqlite}
target=bench/peers/target
mkdir -p "$target"
build=$(realpath "$target")

build_peer() { # its name
    case $1 in
        asynq) (cd bench/peers/asynq && go build -o "$build/asynq" .) ;;
        bullmq) (cd bench/peers/bullmq && npm ci --ignore-scripts --no-audit --no-fund >&2 && node -e 'import("bullmq")') ;;
        apalis-sqlite) cargo build --locked --release --manifest-path bench/peers/apalis-sqlite/Cargo.toml --target-dir "$target" ;;
        *) echo "there is no driver for $1" >&2; return 1 ;;
    esac
}

on_redis=() apalis=''
for name in $wanted; do
    echo "building $name" >&2
    if ! build_peer "$name"; then
        echo "$name cannot be built here; it is left out" >&2
    elif [ "$name" = apalis-sqlite ]; then
        apalis=$target/release/apalis-sqlite
    else
        on_redis+=("$name")
    fi
done
[ -n "${on_redis[*]}$apalis" ] || echo "no peer can be built here; only ours is measured" >&2
binary

place=$(mktemp -d)
trap 'stop_redis; rm -rf "$place"' EXIT
start_redis "$place"

jobs_of() { # phase: fewer where a hundred thousand would take long
    case $1 in
        enqueue) echo "$((jobs < 20000 ? jobs : 20000))" ;;
        latency) echo "$((jobs < 500 ? jobs : 500))" ;;
        *) echo "$jobs" ;;
    esac
}

ours() { # store's URL, phase
    local store=()
    [ -z "$1" ] || store=(--store "$1")
    "$WINDLASS" bench "${store[@]}" --phase "$2" --jobs "$(jobs_of "$2")" --concurrency "$concurrency" --json --log-level error
}

peer() { # name, phase
    case $1 in
        asynq) set -- "$target/asynq" "$2" ;;
        bullmq) set -- "node bench/peers/bullmq/main.mjs" "$2" ;;
    esac
    # shellcheck disable=SC2086 # a program and its first argument
    $1 --redis "$redis_url" --phase "$2" --mode "$modes" --jobs "$(jobs_of "$2")" --concurrency "$concurrency"
}

for round in $(seq "$rounds"); do
    for phase in $phases; do
        echo "round $round of $rounds: $phase" >&2
        ours "$redis_url" "$phase" | figures >>"$place/figures"
        for name in "${on_redis[@]}"; do
            # Asynq puts in one job at a time.
            [ "$name $phase" = "asynq bulk" ] || peer "$name" "$phase" | figures >>"$place/figures"
        done
    done
    if [ -n "$apalis" ]; then
        for phase in bulk drain; do ours "" "$phase" | figures >>"$place/figures"; done
        IFS=, read -ra slots <<<"$concurrency"
        for width in "${slots[@]}"; do "$apalis" "$jobs" "$width" | figures >>"$place/figures"; done
    fi
done

redis-cli -u "$redis_url" INFO server | tr -d '\r' | awk -F : '/^redis_version/ { print "Redis " $2 ", no persistence" }' >"$place/versions"
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
        echo "Made by \`ROUNDS=$rounds JOBS=$jobs CONCURRENCY=$concurrency MODES=$modes PEERS=\"$wanted\" WRITE=1 bench/peers.sh\` on"
        summary
    } | write_section peers
fi
