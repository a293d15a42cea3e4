# A PostgreSQL server of a script's own: on a free port of this host, at its defaults (fsync and synchronous_commit on).
# It refuses to run as root, so then it runs as the user `postgres`, or `nobody`. Sourced, not run.
# start_postgres FOLDER [ARGUMENT..]: makes its files in FOLDER, starts it, sets postgres_url, and waits until it answers.
# stop_postgres: ends it, and removes its files.   postgres_version: what it is and how it is set.
# bare_insert JOBS CALLERS: rows committed one by one by so many callers, as a figure; what an enqueue is held against.

postgres_pid='' postgres_url='' postgres_data='' postgres_bin='' postgres_port=''

# Where its programs are: in the path, or where Debian puts the newest.
postgres_programs() {
    local place
    for place in $(compgen -G '/usr/lib/postgresql/*/bin' | sort -rV) $(dirname "$(command -v initdb || echo /)"); do
        if [ -x "$place/initdb" ] && [ -x "$place/postgres" ] && [ -x "$place/psql" ]; then postgres_bin=$place; return 0; fi
    done
    echo "PostgreSQL is missing; \`make setup\` installs it" >&2
    return 1
}

start_postgres() {
    local folder=$1 as=() user=postgres
    shift
    postgres_programs || return 1
    postgres_data=$(mktemp -d "$folder/postgres-XXXXXX")
    if [ "$(id -u)" = 0 ]; then
        id "$user" >/dev/null 2>&1 || user=nobody
        as=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups)
        chown "$user" "$postgres_data"
        chmod o+x "$folder"
    fi
    if ! (cd "$postgres_data" && "${as[@]}" "$postgres_bin/initdb" -D "$postgres_data/data" -U windlass --auth=trust \
        -E UTF8 --locale=C --no-sync) >"$folder/initdb.log" 2>&1; then
        echo "no database is made: $(cat "$folder/initdb.log")" >&2
        return 1
    fi
    for _ in {1..20}; do
        : >"$folder/postgres.log"
        postgres_port=$(shuf -i 20000-60000 -n 1)
        (cd "$postgres_data" && exec "${as[@]}" "$postgres_bin/postgres" -D "$postgres_data/data" -p "$postgres_port" \
            -h 127.0.0.1 -k '' "$@") >"$folder/postgres.log" 2>&1 &
        postgres_pid=$!
        for _ in {1..200}; do
            # The port may be another's: then ours has ended.
            if grep -q 'ready to accept connections' "$folder/postgres.log"; then
                postgres_url=postgres://windlass@127.0.0.1:$postgres_port/postgres
                return 0
            fi
            kill -0 "$postgres_pid" 2>/dev/null || break
            sleep 0.05
        done
        end_postgres
    done
    echo "no PostgreSQL starts: $(cat "$folder/postgres.log")" >&2
    return 1
}

end_postgres() {
    [ -n "$postgres_pid" ] || return 0
    # At once: whoever is still connected is cut off.
    kill -INT "$postgres_pid" 2>/dev/null || true
    wait "$postgres_pid" 2>/dev/null || true
    postgres_pid=''
}

stop_postgres() {
    end_postgres
    [ -z "$postgres_data" ] || rm -rf "$postgres_data"
    postgres_data=''
}

ask_postgres() { "$postgres_bin/psql" -XqAt -v ON_ERROR_STOP=1 "$postgres_url" "$@"; }

postgres_version() {
    ask_postgres -c "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1) || ', synchronous_commit '
        || current_setting('synchronous_commit') || ', fsync ' || current_setting('fsync')"
}

# A table about as wide as a job, with a key and nothing else; each row is a transaction, prepared once.
bare_insert() {
    local jobs=$1 callers=$2 each script rate kept
    each=$((jobs / callers))
    ask_postgres -c 'SET client_min_messages = warning; DROP TABLE IF EXISTS bare; CREATE TABLE bare (id text PRIMARY KEY,
        seq bigserial, created_at bigint, updated_at bigint, pending_at bigint, timeout_us bigint, retention_us bigint,
        max_retry bigint, line integer, attempt integer, failures integer, priority smallint, state smallint, payload bytea)' >&2
    script=$postgres_data/bare.sql
    cat >"$script" <<'SQL'
INSERT INTO bare (id, created_at, updated_at, pending_at, timeout_us, retention_us, max_retry, line, attempt, failures, priority,
    state, payload)
VALUES (gen_random_uuid()::text, 1, 1, 1, 1800000000, 0, 25, 1, 0, 0, 0, 1,
    '{"number":100000,"to":"somebody@example.com","subject":"your invoice is ready","template":"invoice"}');
SQL
    rate=$(PGUSER=windlass "$postgres_bin/pgbench" -h 127.0.0.1 -p "$postgres_port" -n -M prepared -c "$callers" -j 2 \
        -t "$each" -f "$script" postgres 2>/dev/null | awk '/^tps/ { print $3 }')
    kept=$(ask_postgres -c 'SELECT count(*) FROM bare' -c 'DROP TABLE bare')
    printf '{"peer": "bare INSERT", "version": "by pgbench", "store": "postgres", "phase": "enqueue", "jobs": %s, ' "$jobs"
    printf '"concurrency": %s, "rate": %s, "delivery": {"lost": %s, "twice": 0}}\n' "$callers" "$rate" "$((each * callers - kept))"
}
