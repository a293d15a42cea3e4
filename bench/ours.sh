#!/usr/bin/env bash
# Measures memory and SQLite with `windlass bench`, in alternating rounds, and prints median and range of each figure.
# Every figure comes with exact delivery; a round that lost a job or ran one twice ends the script.
#
# ROUNDS=5 JOBS=100000 CONCURRENCY=10,50 WRITE=1 bench/ours.sh      (WRITE=1: also into bench/RESULTS.md)
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5} concurrency=${CONCURRENCY:-10,50}
if [ -z "${WINDLASS:-}" ]; then
    cargo build --locked --release -p windlass-cli
    WINDLASS=${CARGO_TARGET_DIR:-target}/release/windlass
fi
windlass=$WINDLASS
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

measure() { # store
    local store=() count=()
    # Without a store it takes SQLite in a temporary folder.
    [ "$1" = sqlite ] || store=(--store "$1:")
    [ -z "${JOBS:-}" ] || count=(--jobs "$JOBS")
    "$windlass" bench "${store[@]}" "${count[@]}" --concurrency "$concurrency" --json --log-level error
}

for round in $(seq "$rounds"); do
    for store in memory sqlite; do
        echo "round $round of $rounds: $store" >&2
        # One figure a line: store, phase, jobs, concurrency, rate, p50, p99, CPU, memory, durability.
        measure "$store" | tr -d '\n' | sed 's/},{"store"/}\n{"store"/g; s/} *, *{ *"store"/}\n{"store"/g' | awk '
            function field(name,   found) {
                if (!match($0, "\"" name "\" *: *(\"[^\"]*\"|[^,}]*)")) return ""
                found = substr($0, RSTART, RLENGTH)
                sub(/^"[^"]*" *: */, "", found); gsub(/"/, "", found)
                return found == "null" ? "" : found
            }
            { print field("store") "\t" field("phase") "\t" field("jobs") "\t" field("concurrency") "\t" field("rate") "\t" \
                field("p50_ms") "\t" field("p99_ms") "\t" field("cpu_us_per_job") "\t" field("peak_rss_bytes") "\t" \
                field("durability") }' >>"$place/figures"
    done
done

report() {
    echo "| store | phase | jobs | slots or callers | jobs/s: median (range) | p50 / p99 ms | CPU us/job | peak MiB |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
    sort -t $'\t' -k1,1 -k2,2 -k4,4n -k5,5n "$place/figures" | awk -F '\t' '
        function flush(   middle) {
            if (!n) return
            middle = int((n + 1) / 2)
            split(lines[middle], f, "\t")
            split(lines[1], low, "\t"); split(lines[n], high, "\t")
            printf "| %s | %s | %d | %d | %.0f (%.0f-%.0f) | %s | %.1f | %.1f |\n", f[1], f[2], f[3], f[4], f[5], low[5],
                high[5], f[6] == "" ? "-" : sprintf("%.2f / %.2f", f[6], f[7]), f[8], f[9] / 1048576
            n = 0
        }
        { key = $1 FS $2 FS $4; if (key != last) flush(); last = key; lines[++n] = $0 }
        END { flush() }'
}

report
if [ -n "${WRITE:-}" ]; then
    {
        echo "# Results"
        echo
        echo "Made by \`ROUNDS=$rounds CONCURRENCY=$concurrency WRITE=1 bench/ours.sh\` on $(date -u +%F):" \
            "$(nproc) cores, $(uname -sr), $("$windlass" --version), $(rustc --version), commit" \
            "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)."
        echo "Alternating rounds on one machine; ratios count, absolute figures drift. Delivery was exact in each."
        echo
        report
        echo
        cut -f 1,10 "$place/figures" | sort -u | sed 's/\t/: /; s/^/- /'
    } >bench/RESULTS.md
    echo "written to bench/RESULTS.md" >&2
fi
