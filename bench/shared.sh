#!/usr/bin/env bash
# One queue for both sides: Go handles all kinds, Rust one. How fast does Go work off its own kinds, alone and with Rust
# beside it? Alternating rounds; fails if Go has less than 80 % beside Rust, if a job was archived or failed, or if Rust
# spins: it may ask Redis ASKS times a second while nothing is there for it.
#
# JOBS=20000 CONCURRENCY=10 ROUNDS=3 ASKS=20 bench/shared.sh      (WINDLASS=path: another binary than the release build)
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/redis.sh
. bench/results.sh

jobs=${JOBS:-20000} concurrency=${CONCURRENCY:-10} rounds=${ROUNDS:-3} asks=${ASKS:-20}

binary
place=$(mktemp -d)
go=$place/go
(cd interop && go build -o "$go" .)
worker= helper=

finish() {
    for process in $worker $helper; do kill -9 "$process" 2>/dev/null || true; done
    stop_redis
    wait
    rm -rf "$place"
}
trap finish EXIT

start_redis "$place" --appendonly yes --appendfsync no
url=$redis_url/0
printf 'concurrency = %s\n[kinds.ours]\nbuiltin = "noop"\n' "$concurrency" >"$place/config.toml"

asked() { redis-cli -u "$url" info commandstats | tr -d '\r' | awk -F'[=,]' '/^cmdstat_evalsha:/ { print $2 }'; }
count() { redis-cli -u "$url" "$1" "asynq:{default}:$2"; }

run() { # alone | beside: seconds in took
    redis-cli -u "$url" flushall >/dev/null
    "$go" "$url" fill default theirs "$jobs" 0
    if [ "$1" = beside ]; then
        "$go" "$url" fill default ours 100 0
        "$WINDLASS" work --store "$url" --config "$place/config.toml" --log-level error >/dev/null &
        helper=$!
        # All that is there for Rust stands behind what is Go's; it has looked when its server is registered.
        until [ "$(redis-cli -u "$url" zcard asynq:servers)" = 1 ]; do sleep 0.1; done
    fi
    local total=$jobs before before_at
    [ "$1" = beside ] && total=$((jobs + 100))
    before=$(asked) before_at=$(date +%s%N)
    "$go" "$url" work default "$concurrency" "$place/events" &
    worker=$!
    until [ "$(count zcard completed)" = "$total" ]; do sleep 0.05; done
    took=$((($(date +%s%N) - before_at) / 1000000))
    kill "$worker" && wait "$worker" || true
    if [ "$(count zcard archived) $(count zcard retry) $(count llen active)" != "0 0 0" ] ||
        [ "$(redis-cli -u "$url" --raw get 'asynq:{default}:failed')" != "" ]; then
        echo "a job was archived, failed or is left" >&2
        exit 1
    fi
    if [ "$1" = beside ]; then
        # Go's scripts are counted as well, so Rust is asked for alone: its queue is full of what is not for it.
        "$go" "$url" fill default theirs 1000 0
        before=$(asked)
        sleep 5
        spun=$((($(asked) - before) / 5))
        kill "$helper" && wait "$helper" || true
        helper=
        if [ "$spun" -gt "$asks" ]; then
            echo "Rust asks $spun times a second with nothing to do" >&2
            exit 1
        fi
    fi
}

alone=0 beside=0
for _ in $(seq "$rounds"); do
    run alone
    alone=$((alone + took))
    run beside
    beside=$((beside + took))
done
percent=$((alone * 100 / beside))
echo "Go works off $((jobs * rounds * 1000 / alone)) jobs/s alone, $((jobs * rounds * 1000 / beside)) beside Rust ($percent %); with nothing for it Rust runs $spun scripts a second"
[ "$percent" -ge 80 ] || { echo "that is less than 80 %" >&2; exit 1; }
