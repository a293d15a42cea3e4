-- people.sql: for people: jobs and schedules by their names in views.
-- in: see each    out: views and functions

CREATE FUNCTION windlass.state_name(p_state smallint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['pending', 'scheduled', 'blocked', 'aggregating', 'running', 'retrying', 'completed', 'dead',
        'cancelled'])[p_state + 1]
$$;

CREATE FUNCTION windlass.time(p_us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_us >= 9000000000000000000 THEN 'infinity' ELSE to_timestamp(p_us / 1000000.0) END
$$;

-- The payload as JSON; null if it is none.
CREATE FUNCTION windlass.as_json(p_bytes bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN convert_from(p_bytes, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

-- Jobs that have not ended, and those that have, as people read them.
CREATE VIEW windlass.jobs AS
SELECT job.id, line.kind, line.queue, windlass.state_name(job.state) AS state, job.priority, job.tenant, job.tags,
    windlass.as_json(job.payload) AS payload, job.attempt, job.failures, job.crashes, job.snoozes, job.max_retry,
    job.errors, job.cancel AS cancel_requested, job.server, windlass.time(job.created_at) AS created_at,
    windlass.time(job.updated_at) AS updated_at, windlass.time(job.run_at) AS run_at,
    windlass.time(job.pending_at) AS pending_at, windlass.time(job.started_at) AS started_at,
    windlass.time(job.deadline) AS deadline, split_part(job.exclusive, E'\x1f', 2) AS exclusive
FROM windlass.job AS job JOIN windlass.line AS line ON line.id = job.line;

CREATE VIEW windlass.job_history AS
SELECT job.id, line.kind, line.queue, windlass.state_name(job.state) AS state, job.reason, job.priority, job.tenant, job.tags,
    windlass.as_json(job.payload) AS payload, windlass.as_json(job.result) AS result, job.attempt, job.failures,
    job.crashes, job.snoozes, job.errors, job.server, windlass.time(job.created_at) AS created_at,
    windlass.time(job.started_at) AS started_at, windlass.time(job.completed_at) AS completed_at,
    windlass.time(job.expires_at) AS expires_at, split_part(job.exclusive, E'\x1f', 2) AS exclusive
FROM windlass.history AS job JOIN windlass.line AS line ON line.id = job.line;

-- Schedules, and what became of their ticks.
CREATE VIEW windlass.schedules AS
SELECT schedule.name, schedule.queue, windlass.as_json(schedule.says) AS says FROM windlass.schedule AS schedule;

CREATE VIEW windlass.schedule_history AS
SELECT schedule.name, schedule.queue, line.number, windlass.as_json(line.says) AS says
FROM windlass.schedule AS schedule JOIN windlass.schedule_line AS line ON line.schedule = schedule.id;

-- The middle of a slot of the histograms, in microseconds, as store/stats.rs reads it.
CREATE FUNCTION windlass.middle(p_slot smallint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_slot < 4 THEN p_slot::bigint
        ELSE (1::bigint << p_slot / 4 + 1) + p_slot % 4 * (1::bigint << p_slot / 4 - 1) + (1::bigint << p_slot / 4 - 1) / 2 END
$$;

-- The numbers: SELECT * FROM windlass.metrics('1 hour', 'queue').
-- in: since when runs and jobs that ended are counted, by the minute (null: all that is kept); `by`: queue, kind or tenant, a
--   row each, or null for one row of all
-- out: pending and running are of now and not counted by tenant; what ended is of since. total is their sum. duration: from
--   being enqueued to completed; wait and run: of runs, from a histogram that is off by an eighth at most. Milliseconds;
--   where nothing was measured null, and 0 in the row of all.
-- guarantee: of one moment, what fold() has not added up yet among it; the same numbers as Client::stats
CREATE FUNCTION windlass.metrics(since interval DEFAULT NULL, by text DEFAULT NULL)
RETURNS TABLE (name text, total bigint, pending bigint, running bigint, completed bigint, failed bigint, retried bigint,
    avg_duration_ms double precision, avg_wait_ms double precision, p50_wait_ms double precision,
    p95_wait_ms double precision, p99_wait_ms double precision, avg_run_ms double precision, p50_run_ms double precision,
    p95_run_ms double precision, p99_run_ms double precision) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_by text := coalesce(by, '');
    v_minute bigint := CASE WHEN since IS NULL THEN 0
        ELSE (windlass.now_micros() - (extract(epoch FROM since) * 1000000)::bigint) / 60000000 END;
BEGIN
    IF v_by NOT IN ('', 'queue', 'kind', 'tenant') THEN
        RAISE EXCEPTION 'there are no numbers by `%`; use queue, kind or tenant', v_by
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY WITH ended AS (
        SELECT CASE v_by WHEN 'queue' THEN t.queue WHEN 'kind' THEN t.kind ELSE '' END AS name, t.completed, t.retried,
            t.dead + t.cancelled AS failed, t.duration_us, t.wait_slots, t.wait_counts, t.run_slots, t.run_counts
        FROM windlass.tallies(v_minute) AS t WHERE v_by <> 'tenant'
        UNION ALL
        SELECT t.tenant, t.completed, t.retried, t.dead + t.cancelled, t.duration_us, t.wait_slots, t.wait_counts,
            t.run_slots, t.run_counts
        FROM windlass.tenant_tallies(v_minute) AS t WHERE v_by = 'tenant'
    ), sums AS (
        SELECT e.name, sum(e.completed)::bigint AS completed, sum(e.retried)::bigint AS retried,
            sum(e.failed)::bigint AS failed, least(sum(e.duration_us), 9223372036854775807) AS duration_us
        FROM ended AS e GROUP BY e.name
    ), slots AS (
        SELECT e.name, false AS ran, u.slot, sum(u.n) AS n
        FROM ended AS e, unnest(e.wait_slots, e.wait_counts) AS u (slot, n) GROUP BY e.name, u.slot
        UNION ALL
        SELECT e.name, true, u.slot, sum(u.n)
        FROM ended AS e, unnest(e.run_slots, e.run_counts) AS u (slot, n) GROUP BY e.name, u.slot
    ), ranked AS (
        SELECT s.name, s.ran, windlass.middle(s.slot) AS us, s.n,
            sum(s.n) OVER (PARTITION BY s.name, s.ran ORDER BY s.slot) AS upto,
            (sum(s.n) OVER (PARTITION BY s.name, s.ran))::double precision AS many
        FROM slots AS s
    ), times AS (
        SELECT r.name, r.ran, sum(r.us * r.n)::double precision / 1000 / max(r.many) AS mean,
            min(r.us) FILTER (WHERE r.upto >= ceil(0.5::double precision * r.many)) / 1000::double precision AS p50,
            min(r.us) FILTER (WHERE r.upto >= ceil(0.95::double precision * r.many)) / 1000::double precision AS p95,
            min(r.us) FILTER (WHERE r.upto >= ceil(0.99::double precision * r.many)) / 1000::double precision AS p99
        FROM ranked AS r GROUP BY r.name, r.ran
    ), here AS (
        SELECT CASE v_by WHEN 'queue' THEN l.queue WHEN 'kind' THEN l.kind ELSE '' END AS name,
            sum(l.by_state[1] + l.by_state[2] + l.by_state[3] + l.by_state[4] + l.by_state[6])::bigint AS pending,
            sum(l.by_state[5])::bigint AS running
        FROM windlass.line_count AS l WHERE v_by <> 'tenant' GROUP BY 1
    ), everything AS (
        SELECT coalesce(s.name, h.name) AS name, coalesce(s.completed, 0) AS completed, coalesce(s.failed, 0) AS failed,
            coalesce(s.retried, 0) AS retried, coalesce(s.duration_us, 0) AS duration_us, h.pending, h.running
        FROM sums AS s FULL JOIN here AS h ON h.name = s.name
        WHERE s.name IS NOT NULL OR h.pending + h.running > 0
    ), named AS (
        SELECT e.* FROM everything AS e
        UNION ALL SELECT '', 0, 0, 0, 0, 0, 0 WHERE v_by = '' AND NOT EXISTS (SELECT 1 FROM everything)
    )
    SELECT CASE WHEN v_by <> '' THEN e.name END, coalesce(e.pending + e.running, 0) + e.completed + e.failed, e.pending, e.running,
        e.completed, e.failed, e.retried, e.duration_us::double precision / 1000 / greatest(e.completed, 1),
        coalesce(w.mean, o.none), coalesce(w.p50, o.none), coalesce(w.p95, o.none), coalesce(w.p99, o.none),
        coalesce(r.mean, o.none), coalesce(r.p50, o.none), coalesce(r.p95, o.none), coalesce(r.p99, o.none)
    FROM named AS e
    CROSS JOIN (SELECT CASE WHEN v_by = '' THEN 0::double precision END AS none) AS o
    LEFT JOIN times AS w ON w.name = e.name AND NOT w.ran
    LEFT JOIN times AS r ON r.name = e.name AND r.ran
    ORDER BY e.name;
END $$;
