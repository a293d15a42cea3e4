#!/usr/bin/env bash
# Measures ours beside peers: builds each driver in bench/peers/ that can be built here, and says which cannot.
# A driver is a program of its own (own lock file) that prints one JSON document a figure: peer, phase, jobs, rate.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}
built=()
for driver in bench/peers/*/; do
    [ -f "$driver/Cargo.toml" ] || continue
    name=$(basename "$driver")
    echo "building $name" >&2
    if cargo build --locked --release --manifest-path "$driver/Cargo.toml" --target-dir "bench/peers/target"; then
        built+=("$name")
    else
        echo "$name cannot be built here; it is left out" >&2
    fi
done
[ "${#built[@]}" -gt 0 ] || echo "no peer can be built here; only ours is measured" >&2

if [ -z "${WINDLASS:-}" ]; then
    cargo build --locked --release -p windlass-cli
    WINDLASS=${CARGO_TARGET_DIR:-target}/release/windlass
fi
windlass=$WINDLASS
for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    "$windlass" bench --jobs 50000 --phase bulk --json --log-level error
    "$windlass" bench --jobs 50000 --phase drain --json --log-level error
    for name in "${built[@]}"; do "bench/peers/target/release/$name" 50000; done
done
