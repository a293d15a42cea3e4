#!/usr/bin/env bash
# What jobs that have ended and are kept cost the others, on Postgres: CPU a job (worker and store) beside many of them
# against none, and of jobs that are kept for a month against an hour, each in alternating rounds on one server. Then how
# long a sweep takes to remove a day's jobs, as a part that is dropped and row by row.
#
# ROUNDS=3 HISTORY=5000000 DAYS=30 JOBS=50000 CONCURRENCY=50 EXPIRED=1000000 WITHIN=15 WRITE=1 bench/history.sh
# (HISTORY jobs spread over DAYS parts.  EXPIRED=0: no removal.  WINDLASS=path: another binary than the release build.)
# Ends with 1 if CPU a job grows by more than WITHIN % beside HISTORY jobs.
set -euo pipefail
cd "$(dirname "$0")/.."
. bench/postgres.sh
. bench/results.sh

rounds=${ROUNDS:-3} history=${HISTORY:-5000000} days=${DAYS:-30} jobs=${JOBS:-50000} concurrency=${CONCURRENCY:-50}
expired=${EXPIRED:-1000000} within=${WITHIN:-15}
binary
place=$(mktemp -d)
trap 'stop_postgres; rm -rf "$place"' EXIT
start_postgres "$place" -c max_wal_size=4GB

# schema, retention: one drain, as a line of figures
drain() {
    "$WINDLASS" bench --store "$postgres_url?schema=$1" --phase drain --jobs "$jobs" --concurrency "$concurrency" \
        --retention "$2" --json --log-level error | figures
}

# schema, name, retention: the CPU of one job
measure() {
    drain "$1" "$3" | awk -F '\t' -v name="${2// /_}" '{ print name, $10 + $11, $10, $11 + 0, $7 }' >>"$place/found"
}

# schema, jobs, days: jobs that have ended, spread over the parts of the days to come, as finish_jobs() leaves them
fill() {
    ask_postgres -v schema="$1" -v jobs="$2" -v days="$3" <<'SQL' >&2
SET search_path = :"schema";
CREATE OR REPLACE FUNCTION bench_fill(p_jobs bigint, p_day integer, p_part integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO history (seq, ord, created_at, updated_at, pending_at, started_at, completed_at, expires_at, timeout_us,
        retention_us, max_retry, fence, line, attempt, day, state, priority, server, id, payload)
    SELECT nextval('place'), n, now, now, now, now, now, p_day * 86400000000 + n, 1800000000, 2592000000000, 25, n,
        (SELECT min(id) FROM line), 1, p_part, 6, 0, gen_random_uuid(),
        overlay(overlay(gen_random_uuid()::text PLACING '7' FROM 15) PLACING lpad(to_hex(n), 8, '0') FROM 1),
        '{"number":100000,"to":"somebody@example.com","subject":"your invoice is ready","template":"invoice"}'
    FROM generate_series(1, p_jobs) AS n, (SELECT now_micros() AS now) AS t
$$;
-- A job of each day tells the sweep which parts are wanted.
SELECT bench_fill(1, (now_micros() / 86400000000)::integer + 2 + d, 0) FROM generate_series(0, :days - 1) AS d \g /dev/null
SELECT make_days(NULL) FROM generate_series(1, :days) \g /dev/null
SELECT make_days(NULL) \g /dev/null
SELECT bench_fill(:jobs / :days, day, day) FROM (SELECT day FROM day WHERE ready ORDER BY day LIMIT :days) AS d \g /dev/null
UPDATE line SET enqueued = enqueued + :jobs + :days, completed = completed + :jobs + :days
WHERE id = (SELECT min(id) FROM line);
VACUUM ANALYZE history;
SQL
}

# schema, function and its arguments: seconds that it takes to remove all that has expired, in steps of 500
remove() {
    local begin end
    begin=$(date +%s.%N)
    ask_postgres >&2 <<SQL
SET search_path = $1;
DO \$\$
DECLARE
    step record;
BEGIN
    LOOP
        SELECT * INTO step FROM $2;
        COMMIT;
        EXIT WHEN NOT step.more;
    END LOOP;
END \$\$;
SQL
    end=$(date +%s.%N)
    echo "$begin $end" | awk '{ printf "%.1f", $2 - $1 }'
}

for schema in beside_none beside_many; do
    for _ in 1 2; do drain "$schema" 30d >/dev/null; done # warms it, and its jobs let the sweep see which part is wanted
    ask_postgres -c "SELECT $schema.make_days(NULL), $schema.make_days(NULL)" >&2
    ask_postgres -c "SELECT $schema.make_days(NULL)" >&2
done
echo "filling $history jobs" >&2
fill beside_many "$history" "$days"

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    measure beside_none "none, not kept" 0s
    measure beside_many "$history, not kept" 0s
    measure beside_none "none, kept for an hour" 1h
    measure beside_none "none, kept for 30 days" 30d
    measure beside_many "$history, kept for 30 days" 30d
done

summary() {
    echo "| jobs in history, and the job | CPU us/job: median (range) | of the worker | of the store | jobs/s |"
    echo "| --- | --- | --- | --- | --- |"
    sort -k1,1 -k2,2n "$place/found" | awk -v within="$within" -v history="$history" '
        function flush(   m, f, low, high, name) {
            if (!n) return
            m = int((n + 1) / 2)
            split(lines[m], f, " "); split(lines[1], low, " "); split(lines[n], high, " ")
            name = f[1]; gsub(/_/, " ", name)
            printf "| %s | %.1f (%.1f-%.1f) | %.1f | %.1f | %.0f |\n", name, f[2], low[2], high[2], f[3], f[4], f[5]
            cost[name] = f[2]; n = 0
        }
        $1 != key { flush(); key = $1 }
        { lines[++n] = $0 }
        END {
            flush()
            for (i = 1; i <= 2; i++) {
                what = i == 1 ? "not kept" : "kept for 30 days"
                grown = (cost[history ", " what] / cost["none, " what] - 1) * 100
                printf "\nCPU a job beside %d others, %s: %+.1f %%, %s\n", history, what, grown,
                    grown <= within ? "within " within " %" : "MISSED"
            }
        }'
    if [ "$expired" -gt 0 ]; then
        fill as_part "$expired" 1
        fill as_rows 1 1
        ask_postgres -c "SET search_path = as_rows" -c "SELECT bench_fill($expired, 1, 0)" -c "VACUUM ANALYZE history" >&2
        printf '\nSeconds to remove %d jobs in steps of 500: ' "$expired"
        printf '%s as a part, ' "$(remove as_part "drop_days(now_micros() + 3 * 86400000000, 500)")"
        printf '%s row by row\n' "$(remove as_rows "prune_history(NULL, NULL, 0, 500)")"
    fi
}
if [ "$expired" -gt 0 ]; then
    for schema in as_part as_rows; do drain "$schema" 0s >/dev/null; done
fi
summary | tee "$place/summary"
if [ -n "${WRITE:-}" ]; then
    {
        echo "Made by \`ROUNDS=$rounds HISTORY=$history DAYS=$days JOBS=$jobs CONCURRENCY=$concurrency EXPIRED=$expired WRITE=1 bench/history.sh\`"
        echo "on $(machine), $(postgres_version). Delivery was exact in each round."
        echo
        cat "$place/summary"
    } | write_section history-postgres
fi
! grep -q MISSED "$place/summary"
