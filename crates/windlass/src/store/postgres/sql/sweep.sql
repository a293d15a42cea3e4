-- sweep.sql: what servers do for the whole store now and then.
-- in: see each function    out: functions
-- guarantee: every sweep is bounded, checks its condition in the statement that changes the row, and waits for nobody

-- What is no job, up to p_limit of each.
-- in: the clock; the oldest minute to keep, how many wishes, the oldest sign of life, how long claims of the gone are kept
-- out: whether there may be more
CREATE FUNCTION windlass.prune_others(p_wall bigint, p_minutes bigint, p_wishes bigint, p_silent bigint, p_claims bigint,
    p_limit integer) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_mono bigint := v_now + (SELECT steady FROM windlass.pulse);
    v_many integer;
    v_most integer := 0;
BEGIN
    -- What is not added up yet may be old, too.
    PERFORM windlass.fold(5000);
    DELETE FROM windlass.key WHERE key = ANY (ARRAY(
        SELECT key FROM windlass.key WHERE expires_at <= v_now LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_many = ROW_COUNT; v_most := greatest(v_most, v_many);
    DELETE FROM windlass.bucket WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM windlass.bucket WHERE minute < v_now / 60000000 - p_minutes LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_many = ROW_COUNT; v_most := greatest(v_most, v_many);
    DELETE FROM windlass.bucket_slot WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM windlass.bucket_slot WHERE minute < v_now / 60000000 - p_minutes LIMIT p_limit
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_many = ROW_COUNT; v_most := greatest(v_most, v_many);
    DELETE FROM windlass.tenant_slot WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM windlass.tenant_slot WHERE minute < v_now / 60000000 - p_minutes LIMIT p_limit
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_many = ROW_COUNT; v_most := greatest(v_most, v_many);
    DELETE FROM windlass.tenant_bucket WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM windlass.tenant_bucket WHERE minute < v_now / 60000000 - p_minutes LIMIT p_limit
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_many = ROW_COUNT; v_most := greatest(v_most, v_many);
    DELETE FROM windlass.wish WHERE number = ANY (ARRAY(
        SELECT number FROM windlass.wish WHERE number <= (SELECT wish FROM windlass.counter) - p_wishes
        ORDER BY number LIMIT p_limit));
    GET DIAGNOSTICS v_many = ROW_COUNT; v_most := greatest(v_most, v_many);
    DELETE FROM windlass.server WHERE id = ANY (ARRAY(
        SELECT id FROM windlass.server WHERE seen_at < v_now - p_silent LIMIT p_limit FOR UPDATE SKIP LOCKED));
    -- Not at once: a claim of theirs may still be on its way and must find that it was passed by.
    DELETE FROM windlass.claim WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM windlass.claim AS c WHERE c.at_mono <= v_mono - p_claims
            AND NOT EXISTS (SELECT 1 FROM windlass.server AS s WHERE s.id = c.server)
            AND NOT EXISTS (SELECT 1 FROM windlass.lease AS l WHERE l.id = c.fence)
        LIMIT p_limit FOR UPDATE SKIP LOCKED));
    RETURN v_most >= p_limit;
END $$;

-- Removes up to p_limit jobs that have ended: those whose time is over, or (p_state) those of a state that ended long ago.
-- out: how many, and whether there are more
CREATE FUNCTION windlass.prune_history(p_wall bigint, p_state smallint, p_older bigint, p_limit integer,
    OUT removed integer, OUT more boolean) LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_seqs bigint[];
    v_days integer[] := '{0}';
    v_sides bigint[];
    v_ids text[];
    v_events windlass.event[];
BEGIN
    IF p_state IS NULL THEN
        SELECT array_agg(h.seq) INTO v_seqs FROM (SELECT seq FROM windlass.history WHERE day = 0 AND expires_at <= v_now
            ORDER BY expires_at, seq LIMIT p_limit + 1 FOR UPDATE SKIP LOCKED) AS h;
    ELSE
        SELECT array_agg(h.seq), array_agg(DISTINCT h.day) INTO v_seqs, v_days FROM (SELECT seq, day FROM windlass.history
            WHERE state = p_state AND completed_at <= v_now - least(p_older, v_now)
            ORDER BY completed_at, seq LIMIT p_limit + 1 FOR UPDATE SKIP LOCKED) AS h;
    END IF;
    more := coalesce(cardinality(v_seqs), 0) > p_limit;
    WITH gone AS (
        DELETE FROM windlass.history WHERE seq = ANY (v_seqs[1:p_limit]) AND day = ANY (v_days)
        RETURNING seq, line, tenant, state, side, id
    )
    SELECT array_agg(g.seq) FILTER (WHERE g.side), array_agg(g.id) FILTER (WHERE windlass.named(g.id)),
        array_agg(ROW(g.line, g.tenant, g.state, NULL, NULL, NULL, NULL, NULL)::windlass.event)
    INTO v_sides, v_ids, v_events FROM gone AS g;
    removed := coalesce(cardinality(v_events), 0);
    IF v_sides IS NOT NULL THEN
        PERFORM windlass.remove_side(v_sides);
    END IF;
    IF v_ids IS NOT NULL THEN
        PERFORM windlass.free(v_ids, v_seqs);
    END IF;
    IF v_events IS NOT NULL THEN
        PERFORM windlass.book(v_now, v_events);
    END IF;
END $$;

-- Begins a look for kinds that no live server handles: when the last one was, and the clock. One at a time.
CREATE FUNCTION windlass.begin_sweep(p_wall bigint, OUT now_us bigint, OUT last_us bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    SELECT swept_at INTO last_us FROM windlass.counter FOR UPDATE;
    now_us := coalesce(p_wall, windlass.now_micros());
    UPDATE windlass.counter SET swept_at = now_us;
END $$;

-- Adds to the time in which no live server declared some lines' kinds, and sets that of others to nothing.
CREATE FUNCTION windlass.note_undeclared(p_undeclared integer[], p_declared integer[], p_elapsed bigint)
RETURNS TABLE (line integer, undeclared_us bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- Not while somebody adds up the ledger: both write many lines, each in an order of its own.
    PERFORM pg_advisory_xact_lock(7089, 'windlass.ledger'::regclass::oid::integer);
    UPDATE windlass.line AS l SET undeclared_us = 0 WHERE l.id = ANY (p_declared) AND l.undeclared_us <> 0;
    RETURN QUERY UPDATE windlass.line AS l SET undeclared_us = l.undeclared_us + p_elapsed
        WHERE l.id = ANY (p_undeclared) RETURNING l.id, l.undeclared_us;
END $$;

-- Buries up to p_limit jobs of a line that have been pending for p_after.
-- why: both parts of the line, each by its own index; the oldest stand in front but for priorities, so a look at the first
-- 10,000 is enough, and a line of a million fresh ones is not walked
CREATE FUNCTION windlass.bury_unknown(p_wall bigint, p_line integer, p_after bigint, p_limit integer, p_keep bigint,
    p_message text) RETURNS integer LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_job windlass.job;
    v_events windlass.event[];
    v_freed text[];
    v_seq bigint;
BEGIN
    FOR v_seq IN
        SELECT o.seq FROM (
            (SELECT seq, pending_at FROM windlass.job WHERE state = 0 AND NOT suspect
                AND line * 256::bigint - priority BETWEEN p_line * 256::bigint - 127 AND p_line * 256::bigint + 127
            ORDER BY line * 256::bigint - priority, ord LIMIT 10000)
            UNION ALL
            (SELECT seq, pending_at FROM windlass.job WHERE line = p_line AND state = 0 AND suspect
            ORDER BY priority DESC, ord LIMIT 10000)) AS o
        WHERE o.pending_at <= v_now - p_after LIMIT p_limit
    LOOP
        SELECT * INTO v_job FROM windlass.job WHERE seq = v_seq AND state + 0 = 0 FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        v_job.errors := windlass.with_error(v_job.errors, v_now, v_job.attempt, 'unknown_kind', p_message);
        v_events := array_append(v_events, windlass.settle(v_job, 7, 'unknown_kind', v_now, p_keep, NULL, NULL));
        IF v_job.exclusive IS NOT NULL THEN
            v_freed := array_append(v_freed, v_job.exclusive);
        END IF;
    END LOOP;
    IF v_events IS NOT NULL THEN
        PERFORM windlass.book(v_now, v_events);
    END IF;
    IF v_freed IS NOT NULL THEN
        PERFORM windlass.let_in(v_now, v_freed, NULL, false);
    END IF;
    RETURN coalesce(cardinality(v_events), 0);
END $$;

-- A server says that it lives.
CREATE FUNCTION windlass.beat(p_wall bigint, p_server uuid, p_body text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO windlass.server (id, seen_at, body) VALUES (p_server, coalesce(p_wall, windlass.now_micros()), p_body)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, body = excluded.body;
END $$;

-- A server makes no more claims; one that was delayed on its way gets nothing.
-- why: the highest number there is lets every other one have passed; prune_others() removes the row soon
CREATE FUNCTION windlass.leave(p_wall bigint, p_server uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM windlass.server WHERE id = p_server;
    PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_server, 7089));
    INSERT INTO windlass.claim (server, sequence, fence, at_mono)
    VALUES (p_server, 9223372036854775807, 0,
        coalesce(p_wall, windlass.now_micros()) + (SELECT steady FROM windlass.pulse))
    ON CONFLICT (server, sequence) DO UPDATE SET at_mono = excluded.at_mono;
END $$;
