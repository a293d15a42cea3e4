# A Redis of a script's own: on a free port of this host, without persistence unless told otherwise. Sourced, not run.
# start_redis FOLDER [ARGUMENT..]: starts it, sets redis_url, and waits until it answers.   stop_redis: ends it.

redis_pid='' redis_url=''

start_redis() {
    local folder=$1 port
    shift
    command -v redis-server >/dev/null || { echo "redis-server is missing; \`make setup\` installs it" >&2; return 1; }
    for _ in {1..20}; do
        port=$(shuf -i 20000-60000 -n 1)
        redis-server --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' --appendonly no --loglevel warning "$@" \
            >"$folder/redis.log" 2>&1 &
        redis_pid=$!
        for _ in {1..100}; do
            # The port may be another's: then ours has ended, or another process answers.
            if redis-cli -p "$port" INFO server 2>/dev/null | grep -q "^process_id:$redis_pid\b"; then
                redis_url=redis://127.0.0.1:$port
                return 0
            fi
            kill -0 "$redis_pid" 2>/dev/null || break
            sleep 0.05
        done
        stop_redis
    done
    echo "no redis-server starts: $(cat "$folder/redis.log")" >&2
    return 1
}

stop_redis() {
    [ -n "$redis_pid" ] || return 0
    kill "$redis_pid" 2>/dev/null || true
    wait "$redis_pid" 2>/dev/null || true
    redis_pid=''
}
