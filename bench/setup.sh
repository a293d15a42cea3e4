#!/usr/bin/env bash
# Sees to it that Rust with rustfmt and clippy, a C compiler, a redis-server, PostgreSQL and PgBouncer are there. Installs what it can, says what it cannot.
set -euo pipefail

if ! command -v cargo >/dev/null; then
    echo "cargo is missing; install Rust (the version in Cargo.toml or newer) and run this again" >&2
    exit 1
fi

for component in rustfmt clippy; do
    command=${component/rustfmt/fmt}
    if ! cargo "$command" --version >/dev/null 2>&1; then
        if ! command -v rustup >/dev/null || ! rustup component add "$component"; then
            echo "$component is missing; install it for this Rust and run this again" >&2
            exit 1
        fi
    fi
done

if ! command -v cc >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q
        apt-get install -qy --no-install-recommends gcc libc6-dev
    else
        echo "a C compiler is missing; install one (Debian: gcc and libc6-dev) and run this again" >&2
        exit 1
    fi
fi

# The tests of the Redis store start a server of their own, unless TEST_REDIS_URL names one.
if [ -z "${TEST_REDIS_URL:-}" ] && ! command -v redis-server >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q
        apt-get install -qy --no-install-recommends redis-server
    else
        echo "redis-server is missing; install it (Debian: redis-server) or set TEST_REDIS_URL, and run this again" >&2
        exit 1
    fi
fi

# So do the tests of the Postgres store, unless TEST_POSTGRES_URL names one.
postgres_is_there() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}
if [ -z "${TEST_POSTGRES_URL:-}" ] && ! postgres_is_there; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q
        apt-get install -qy --no-install-recommends postgresql
    else
        echo "PostgreSQL is missing; install it (Debian: postgresql) or set TEST_POSTGRES_URL, and run this again" >&2
        exit 1
    fi
fi

# Some of them go through a pooler.
if ! PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q
        apt-get install -qy --no-install-recommends pgbouncer
    else
        echo "PgBouncer is missing; install it (Debian: pgbouncer) and run this again" >&2
        exit 1
    fi
fi

# The drivers of peers are built by `make bench-peers` itself, from their lock files.
if ! command -v npm >/dev/null; then
    echo "npm is missing: \`make bench-peers\` will leave out BullMQ and Graphile Worker" >&2
fi

# Go's modules come over its own client; they are fetched here, so that no test waits for them.
if ! command -v go >/dev/null; then
    echo "Go is missing: the tests against Asynq itself will check nothing here" >&2
else
    for module in interop interop/asynqmon; do
        (cd "$(dirname "$0")/../$module" && go mod download)
    done
fi
