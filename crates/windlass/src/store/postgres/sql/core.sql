-- core.sql: the clock, and the numbers that every step moves.
-- in: see each function    out: functions

-- The wall clock of the server.
CREATE FUNCTION windlass.now_micros() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- Names this start of the server: another one is an outage.
-- why: a process of the server that is killed ends all others, and the server recovers without another start; what was
--   committed without waiting for the disk may be gone, and `boot` is empty, since it is not in the log. A copy of the
--   database has another name.
CREATE FUNCTION windlass.start_of_server() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(' ', extract(epoch FROM pg_postmaster_start_time())::text,
        (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()), (SELECT min(mark) FROM windlass.boot))
$$;

-- Later by a duration; stops at the end of time instead of overflowing.
CREATE FUNCTION windlass.later(p_at bigint, p_wait bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_wait > 9223372036854775807 - greatest(p_at, 0) THEN 9223372036854775807 ELSE p_at + p_wait END
$$;

-- The slot of the histograms for a duration, as store/stats.rs counts them.
-- why: the number of bits is written out twice, since a function with a query in it is called and not inlined
CREATE FUNCTION windlass.slot(p_us bigint) RETURNS smallint LANGUAGE sql IMMUTABLE AS $$
    SELECT (CASE WHEN p_us < 4 THEN greatest(p_us, 0) ELSE (length(ltrim(p_us::bit(64)::text, '0')) - 2) * 4
        + ((p_us >> (length(ltrim(p_us::bit(64)::text, '0')) - 3)) & 3) END)::smallint
$$;

-- The store's clocks, and its sign of life if p_lease is above zero.
-- p_wall, p_start: of a test, which moves time; null: the server's own
-- p_told, p_elapsed: the wall clock that the caller was last told, and how long ago by its own clock; null: it does not know
-- guarantee: a step of the wall clock moves no lease as long as somebody saw it happen: the caller's own clock says by how
--   much the wall clock is off, and the last stamp says whether somebody else has made up for it already. The rule of the
--   pauses after an outage is `Pulse::stamp` in decide/rescue.rs.
-- why: the server has no clock that is never set. Another start of it is an outage in which all leases have run out: the
--   steady clock jumps past them, and those who live renew theirs in the pause. Who only looks locks nothing.
CREATE FUNCTION windlass.tick(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_lease bigint, p_late boolean,
    OUT wall bigint, OUT mono bigint, OUT may_rescue boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_pulse windlass.pulse;
    v_start text := coalesce(p_start, windlass.start_of_server());
    v_write boolean := p_lease > 0;
    v_jump bigint;
BEGIN
    LOOP
        IF v_write THEN
            SELECT * INTO STRICT v_pulse FROM windlass.pulse FOR UPDATE;
            IF p_start IS NULL THEN
                -- The pulse's lock lets one do it; whoever waited for it looks anew.
                INSERT INTO windlass.boot (mark) SELECT gen_random_uuid()::text
                WHERE NOT EXISTS (SELECT 1 FROM windlass.boot);
                v_start := windlass.start_of_server();
            END IF;
        ELSE
            SELECT * INTO STRICT v_pulse FROM windlass.pulse;
        END IF;
        wall := coalesce(p_wall, windlass.now_micros());
        v_jump := CASE WHEN p_elapsed >= 0 THEN wall - p_told - p_elapsed END;
        IF abs(v_jump) > 500000 AND (p_told = v_pulse.last OR wall < v_pulse.last
            OR (v_jump > 0 AND wall - v_pulse.last >= v_jump)) THEN
            v_pulse.steady := v_pulse.steady + v_pulse.last + greatest(0, wall - v_jump - v_pulse.last) - wall;
        ELSIF wall < v_pulse.last THEN
            v_pulse.steady := v_pulse.steady + v_pulse.last - wall;
        ELSE
            v_jump := NULL;
        END IF;
        EXIT WHEN v_write OR (v_jump IS NULL AND v_pulse.start = v_start AND wall >= v_pulse.last);
        v_write := true;
    END LOOP;
    mono := wall + v_pulse.steady;
    IF v_write THEN
        IF v_pulse.start = '' THEN
            -- A new store: nobody was away.
            v_pulse.stamped_mono := mono;
            v_pulse.wait_mono := mono;
        ELSIF v_pulse.start <> v_start THEN
            v_pulse.steady := v_pulse.steady + 86400000000;
            mono := mono + 86400000000;
            v_pulse.stamped_mono := mono;
            v_pulse.wait_mono := mono + greatest(p_lease, 10000000) * 4 / 10;
        END IF;
        IF p_lease > 0 THEN
            IF p_late OR mono - v_pulse.stamped_mono
                > (CASE WHEN v_pulse.wait_mono > v_pulse.stamped_mono THEN p_lease / 4 ELSE p_lease / 2 END) THEN
                v_pulse.wait_mono := greatest(v_pulse.wait_mono, mono + p_lease * 4 / 10);
            END IF;
            v_pulse.stamped_mono := greatest(v_pulse.stamped_mono, mono);
        END IF;
        -- Ahead of whatever a restored copy of the store may have given. Only who holds the pulse's lock moves it, and by
        -- more than could be taken meanwhile.
        IF (SELECT last_value FROM windlass.fence) < (mono - 60000000) * 1000 THEN
            PERFORM setval('windlass.fence', mono * 1000);
        END IF;
        UPDATE windlass.pulse SET last = wall, steady = v_pulse.steady, start = v_start,
            stamped_mono = v_pulse.stamped_mono, wait_mono = v_pulse.wait_mono;
    END IF;
    may_rescue := mono >= v_pulse.wait_mono;
END $$;

-- Notes what a step did to jobs. Adds rows and waits for nobody.
-- why: in PL/pgSQL, as all that is called often: it keeps its plans, which a function in SQL makes anew in every call
CREATE FUNCTION windlass.book(p_at bigint, p_events windlass.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO windlass.ledger
    SELECT event.line, event.tenant, p_at / 60000000,
        count(*) FILTER (WHERE was IS NULL), count(*) FILTER (WHERE went IS NULL),
        count(*) FILTER (WHERE went = 0) - count(*) FILTER (WHERE was = 0),
        count(*) FILTER (WHERE went = 1) - count(*) FILTER (WHERE was = 1),
        count(*) FILTER (WHERE went = 2) - count(*) FILTER (WHERE was = 2),
        count(*) FILTER (WHERE went = 3) - count(*) FILTER (WHERE was = 3),
        count(*) FILTER (WHERE went = 4) - count(*) FILTER (WHERE was = 4),
        count(*) FILTER (WHERE went = 5) - count(*) FILTER (WHERE was = 5),
        count(*) FILTER (WHERE went = 6) - count(*) FILTER (WHERE was = 6),
        count(*) FILTER (WHERE went = 7) - count(*) FILTER (WHERE was = 7),
        count(*) FILTER (WHERE went = 8) - count(*) FILTER (WHERE was = 8),
        count(*) FILTER (WHERE ended = 6), count(*) FILTER (WHERE ended = 5),
        count(*) FILTER (WHERE ended = 7), count(*) FILTER (WHERE ended = 8),
        least(coalesce(sum(lived) FILTER (WHERE ended = 6), 0), 9223372036854775807)::bigint,
        array_agg(windlass.slot(waited)) FILTER (WHERE ran IS NOT NULL),
        array_agg(windlass.slot(ran)) FILTER (WHERE ran IS NOT NULL)
    FROM unnest(p_events) AS event GROUP BY event.line, event.tenant;
END $$;

-- Adds up to p_most rows of the ledger to the counts and the minutes.
-- guarantee: a reader sees each row either in the ledger or added up; one at a time does it, and nobody waits for it
CREATE FUNCTION windlass.fold(p_most integer) RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_many integer;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM windlass.ledger)
        OR NOT pg_try_advisory_xact_lock(7089, 'windlass.ledger'::regclass::oid::integer) THEN
        RETURN 0;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    WITH gone AS (
        DELETE FROM windlass.ledger
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM windlass.ledger LIMIT p_most)) RETURNING *
    ), lines AS (
        UPDATE windlass.line AS line SET enqueued = line.enqueued + s.enqueued, removed = line.removed + s.removed,
            pending = line.pending + s.pending, scheduled = line.scheduled + s.scheduled,
            blocked = line.blocked + s.blocked, aggregating = line.aggregating + s.aggregating,
            running = line.running + s.running, retrying = line.retrying + s.retrying,
            completed = line.completed + s.completed, dead = line.dead + s.dead, cancelled = line.cancelled + s.cancelled
        FROM (SELECT line, sum(enqueued) AS enqueued, sum(removed) AS removed, sum(pending) AS pending,
                sum(scheduled) AS scheduled, sum(blocked) AS blocked, sum(aggregating) AS aggregating,
                sum(running) AS running, sum(retrying) AS retrying, sum(completed) AS completed, sum(dead) AS dead,
                sum(cancelled) AS cancelled
            FROM gone GROUP BY line) AS s
        WHERE line.id = s.line
    ), buckets AS (
        INSERT INTO windlass.bucket AS b (minute, line, completed, retried, dead, cancelled, duration_us)
        SELECT minute, line, sum(did_complete), sum(did_retry), sum(did_die), sum(did_cancel), sum(duration_us)
        FROM gone WHERE did_complete + did_retry + did_die + did_cancel > 0 GROUP BY minute, line ORDER BY minute, line
        ON CONFLICT (minute, line) DO UPDATE SET completed = b.completed + excluded.completed,
            retried = b.retried + excluded.retried, dead = b.dead + excluded.dead,
            cancelled = b.cancelled + excluded.cancelled, duration_us = b.duration_us + excluded.duration_us
    ), slots AS (
        INSERT INTO windlass.bucket_slot AS b (minute, line, ran, slot, n)
        SELECT minute, line, ran, slot, count(*)
        FROM (SELECT minute, line, false AS ran, unnest(waits) AS slot FROM gone
            UNION ALL SELECT minute, line, true, unnest(runs) FROM gone) AS taken
        GROUP BY minute, line, ran, slot ORDER BY minute, line, ran, slot
        ON CONFLICT (minute, line, ran, slot) DO UPDATE SET n = b.n + excluded.n
    ), tenant_slots AS (
        INSERT INTO windlass.tenant_slot AS b (minute, tenant, ran, slot, n)
        SELECT minute, tenant, ran, slot, count(*)
        FROM (SELECT minute, tenant, false AS ran, unnest(waits) AS slot FROM gone WHERE tenant IS NOT NULL
            UNION ALL SELECT minute, tenant, true, unnest(runs) FROM gone WHERE tenant IS NOT NULL) AS taken
        GROUP BY minute, tenant, ran, slot ORDER BY minute, tenant, ran, slot
        ON CONFLICT (minute, tenant, ran, slot) DO UPDATE SET n = b.n + excluded.n
    ), tenants AS (
        INSERT INTO windlass.tenant_bucket AS b (minute, tenant, completed, retried, dead, cancelled, duration_us)
        SELECT minute, tenant, sum(did_complete), sum(did_retry), sum(did_die), sum(did_cancel), sum(duration_us)
        FROM gone WHERE tenant IS NOT NULL AND did_complete + did_retry + did_die + did_cancel > 0
        GROUP BY minute, tenant ORDER BY minute, tenant
        ON CONFLICT (minute, tenant) DO UPDATE SET completed = b.completed + excluded.completed,
            retried = b.retried + excluded.retried, dead = b.dead + excluded.dead,
            cancelled = b.cancelled + excluded.cancelled, duration_us = b.duration_us + excluded.duration_us
    )
    SELECT count(*) INTO v_many FROM gone;
    RETURN v_many;
END $$;

-- Ends a job's life: its numbers are counted, and it is kept for p_keep, or removed if that is zero.
-- in: the job as it is in windlass.job, locked; p_waited, p_ran: of the run that ended, or null    out: what to book
CREATE FUNCTION windlass.settle(p_job windlass.job, p_to integer, p_reason text, p_now bigint, p_keep bigint,
    p_waited bigint, p_ran bigint) RETURNS windlass.event LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_event windlass.event := ROW(p_job.line, p_job.tenant, p_job.state, CASE WHEN p_keep > 0 THEN p_to END, p_to,
        p_waited, p_ran, greatest(p_now - p_job.created_at, 0));
BEGIN
    DELETE FROM windlass.job WHERE seq = p_job.seq;
    IF p_keep > 0 THEN
        p_job.state := p_to;
        p_job.reason := p_reason;
        p_job.updated_at := p_now;
        p_job.completed_at := p_now;
        p_job.expires_at := windlass.later(p_now, p_keep);
        p_job.day := windlass.part(p_now, p_job.expires_at);
        p_job.run_at := NULL;
        p_job.cancel := NULL;
        p_job.lease := NULL;
        INSERT INTO windlass.history SELECT (p_job).*;
        IF windlass.named(p_job.id) THEN
            PERFORM windlass.keep(p_job.id, p_job.seq, p_job.day);
        END IF;
    ELSIF p_job.side THEN
        PERFORM windlass.remove_side(ARRAY[p_job.seq]);
    END IF;
    RETURN v_event;
END $$;

-- Removes what runs of these jobs have said.
CREATE FUNCTION windlass.remove_side(p_seqs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM windlass.report WHERE seq = ANY (p_seqs);
    DELETE FROM windlass.checkpoint WHERE seq = ANY (p_seqs);
    DELETE FROM windlass.log WHERE seq = ANY (p_seqs);
END $$;

-- A history of errors with one more, of which the newest ten are kept. What is no history (somebody wrote it by hand) goes.
CREATE FUNCTION windlass.with_error(p_errors jsonb, p_at bigint, p_attempt integer, p_class text, p_message text)
RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_array_length(all_errors) > 10 THEN all_errors - 0 ELSE all_errors END
    FROM (SELECT CASE WHEN jsonb_typeof(p_errors) = 'array' THEN p_errors ELSE '[]' END || jsonb_build_object('at', p_at, 'attempt', p_attempt, 'class', p_class,
        'message', p_message) AS all_errors) AS a
$$;

-- After jobs have left a group: with its last member a group is gone, and so is the wish to flush it.
CREATE FUNCTION windlass.left_group(p_member_of text) RETURNS void LANGUAGE sql AS $$
    DELETE FROM windlass.flush WHERE member_of = p_member_of
        AND NOT EXISTS (SELECT 1 FROM windlass.job WHERE state = 3 AND member_of = p_member_of)
$$;
