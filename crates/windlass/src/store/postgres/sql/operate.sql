-- operate.sql: what operators do to one job, one queue or one group.
-- in: see each function    out: functions

-- What an operator's action depends on; no row if there is no such job.
CREATE FUNCTION windlass.job_state(p_id text) RETURNS TABLE (state smallint, attempt integer, has_group boolean)
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT j.state, j.attempt, j.member_of IS NOT NULL FROM windlass.job AS j WHERE j.id = p_id;
    IF NOT FOUND THEN
        RETURN QUERY SELECT h.state, h.attempt, h.member_of IS NOT NULL FROM windlass.history AS h
            WHERE (h.seq, h.day) = (SELECT e.seq, e.day FROM windlass.ended(ARRAY[p_id]) AS e);
    END IF;
END $$;

-- Does something to one job, if it is still as it was when that was decided.
-- in: the id; its state and whether it belonged into a group then; what: 0 remove, 1 edit, 2 ask to cancel, 3 end it,
--   4 redrive, 5 put it into line, 6 give it a time; the state that it gets; reason; payload; how long ended ones are kept;
--   starts as enqueue_jobs takes them
-- out: 0 it has changed meanwhile, 1 done, 2 its key is held by `holder`; the state that it has now, if it was to get one
CREATE FUNCTION windlass.operate_job(p_wall bigint, p_id text, p_state smallint, p_grouped boolean, p_what integer,
    p_to smallint, p_reason text, p_payload bytea, p_keep bigint, p_start smallint, p_start_us bigint,
    OUT answer integer, OUT holder text, OUT became smallint) LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_job windlass.job;
    v_was windlass.job;
    v_event windlass.event;
BEGIN
    answer := 0;
    IF p_state < 6 THEN
        SELECT * INTO v_job FROM windlass.job WHERE id = p_id AND state = p_state FOR UPDATE;
    ELSE
        SELECT h.* INTO v_job FROM windlass.history AS h
        WHERE (h.seq, h.day) = (SELECT e.seq, e.day FROM windlass.ended(ARRAY[p_id]) AS e) AND h.state = p_state FOR UPDATE;
    END IF;
    IF NOT FOUND OR (v_job.member_of IS NOT NULL AND v_job.attempt = 0) <> p_grouped THEN
        RETURN;
    END IF;
    answer := 1;
    -- Whoever comes into line with an exclusive key is blocked first.
    became := CASE WHEN p_to = 0 AND v_job.exclusive IS NOT NULL THEN 2 ELSE p_to END;
    CASE p_what
    WHEN 0 THEN
        DELETE FROM windlass.job WHERE seq = v_job.seq;
        PERFORM windlass.unkeep(v_job);
        PERFORM windlass.remove_side(ARRAY[v_job.seq]) WHERE v_job.side;
        v_event := ROW(v_job.line, v_job.tenant, v_job.state, NULL, NULL, NULL, NULL, NULL);
    WHEN 1 THEN
        UPDATE windlass.job SET payload = p_payload, updated_at = v_now,
            ord = CASE WHEN state = 3 THEN nextval('windlass.place') ELSE ord END WHERE seq = v_job.seq;
        UPDATE windlass.history SET payload = p_payload, updated_at = v_now WHERE seq = v_job.seq AND day = v_job.day;
        -- They belong to the payload that was.
        UPDATE windlass.report SET fraction = NULL, message = NULL WHERE seq = v_job.seq;
        DELETE FROM windlass.checkpoint WHERE seq = v_job.seq;
        RETURN;
    WHEN 2 THEN
        UPDATE windlass.job SET cancel = p_reason WHERE seq = v_job.seq;
        -- The counter's lock lets numbers become visible in their order.
        UPDATE windlass.counter SET wish = wish + 1;
        INSERT INTO windlass.wish (number, id, fence, reason, at)
        SELECT wish, p_id, v_job.fence, p_reason, v_now FROM windlass.counter;
        RETURN;
    WHEN 3 THEN
        v_event := windlass.settle(v_job, p_to, p_reason, v_now, p_keep, NULL, NULL);
    WHEN 4 THEN
        v_was := v_job;
        v_job.day := NULL;
        v_job.state := became;
        v_job.ord := nextval('windlass.place');
        v_job.failures := 0;
        v_job.crashes := 0;
        v_job.suspect := false;
        v_job.pending_at := v_now;
        v_job.updated_at := v_now;
        v_job.run_at := NULL;
        v_job.completed_at := NULL;
        v_job.expires_at := NULL;
        v_job.reason := NULL;
        INSERT INTO windlass.job SELECT (v_job).* ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT k.id INTO holder FROM windlass.key_holder(v_now, v_job.unique_key, NULL) AS k;
            -- No holder: it ended meanwhile.
            answer := CASE WHEN holder IS NULL THEN 0 ELSE 2 END;
            RETURN;
        END IF;
        PERFORM windlass.unkeep(v_was);
        v_event := ROW(v_job.line, v_job.tenant, p_state, became, NULL, NULL, NULL, NULL);
    WHEN 5 THEN
        UPDATE windlass.job SET state = became, ord = nextval('windlass.place'), pending_at = v_now, updated_at = v_now,
            run_at = NULL WHERE seq = v_job.seq;
        v_event := ROW(v_job.line, v_job.tenant, p_state, became, NULL, NULL, NULL, NULL);
    ELSE
        UPDATE windlass.job SET state = 1, updated_at = v_now, run_at = CASE p_start WHEN 0 THEN v_now
            WHEN 1 THEN p_start_us ELSE windlass.later(v_now, p_start_us) END WHERE seq = v_job.seq;
        v_event := ROW(v_job.line, v_job.tenant, p_state, 1, NULL, NULL, NULL, NULL);
    END CASE;
    IF p_state = 3 THEN
        PERFORM windlass.left_group(v_job.member_of);
    END IF;
    PERFORM windlass.book(v_now, ARRAY[v_event]);
    IF v_job.exclusive IS NOT NULL AND (p_state IN (0, 4) OR became = 2) THEN
        PERFORM windlass.let_in(v_now, ARRAY[v_job.exclusive], NULL, false);
        IF became = 2 THEN
            SELECT j.state INTO STRICT became FROM windlass.job AS j WHERE j.id = p_id;
        END IF;
    END IF;
END $$;

-- Stops a queue from giving jobs, or lets it give again. False: there is no such queue.
CREATE FUNCTION windlass.pause_queue(p_queue text, p_paused boolean) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT 1 FROM windlass.line WHERE queue = p_queue) THEN
        RETURN false;
    END IF;
    IF p_paused THEN
        INSERT INTO windlass.pause (queue) VALUES (p_queue) ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM windlass.pause WHERE queue = p_queue;
    END IF;
    RETURN true;
END $$;

-- In one step: checks that each member still waits in the group as it was read, ends them, and enqueues the new job.
-- in: the group, its members and their versions, the new job as enqueue_json takes it, its id (p_fresh: nobody knows it
--   yet) and key
-- out: 0 they have changed, 1 done, 2 the id or the key is taken by `holder`, which is in `state`
-- guarantee: 0 and 2 change nothing
CREATE FUNCTION windlass.flush_group(p_wall bigint, p_group text, p_ids text[], p_versions bigint[], p_into text,
    p_into_id text, p_fresh boolean, p_key bytea, p_ttl bigint, OUT answer integer, OUT holder text, OUT state smallint)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_jobs windlass.job[];
    v_job windlass.job;
    v_events windlass.event[];
    v_taken record;
BEGIN
    answer := 0;
    SELECT array_agg(j.job ORDER BY j.n) INTO v_jobs FROM (
        SELECT job, u.n FROM unnest(p_ids, p_versions) WITH ORDINALITY AS u (id, version, n)
        JOIN windlass.job AS job ON job.id = u.id AND job.state + 0 = 3 AND job.ord = u.version AND job.member_of = p_group
        ORDER BY job.seq FOR UPDATE OF job) AS j;
    IF coalesce(cardinality(v_jobs), 0) <> cardinality(p_ids)
        OR (SELECT count(DISTINCT u.id) FROM unnest(p_ids) AS u (id)) <> cardinality(p_ids) THEN
        RETURN;
    END IF;
    answer := 2;
    SELECT j.id, j.state INTO holder, state FROM windlass.job AS j WHERE j.id = p_into_id;
    IF holder IS NULL AND NOT p_fresh THEN
        SELECT e.id, e.state INTO holder, state FROM windlass.ended(ARRAY[p_into_id]) AS e;
    END IF;
    IF holder IS NULL AND p_key IS NOT NULL THEN
        SELECT k.id, k.state INTO holder, state FROM windlass.key_holder(v_now, p_key, p_ttl) AS k;
        -- The key of a member is free once it has ended, in this same step.
        IF p_ttl IS NULL AND holder = ANY (p_ids) THEN
            holder := NULL;
        END IF;
    END IF;
    IF holder IS NOT NULL THEN
        RETURN;
    END IF;
    FOREACH v_job IN ARRAY v_jobs LOOP
        v_job.flushed_into := p_into_id;
        v_events := array_append(v_events,
            windlass.settle(v_job, 6, NULL, v_now, v_job.retention_us, NULL, NULL));
    END LOOP;
    PERFORM windlass.left_group(p_group);
    PERFORM windlass.book(v_now, v_events);
    SELECT e.id, e.state INTO v_taken FROM windlass.enqueue_json(v_now, p_into) AS e;
    IF FOUND THEN
        -- Somebody took the id or the key meanwhile: all of it goes again.
        RAISE EXCEPTION 'the id or the key of the new job was taken meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    PERFORM windlass.let_in(v_now, e.keys, e.places, false) FROM windlass.entered(ARRAY[p_into_id]) AS e
    WHERE e.keys IS NOT NULL;
    answer := 1;
    state := NULL;
END $$;

-- Makes a group due, for those of its members that are there. False: there is no such group.
-- why: members that came in by a clock that has been set back since count as there, too
CREATE FUNCTION windlass.ask_flush(p_wall bigint, p_group text) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO windlass.flush (member_of, until)
    SELECT p_group, greatest(coalesce(p_wall, windlass.now_micros()), max(pending_at))
    FROM windlass.job WHERE state = 3 AND member_of = p_group HAVING count(*) > 0
    ON CONFLICT (member_of) DO UPDATE SET until = excluded.until;
    RETURN FOUND;
END $$;

-- Removes up to p_limit members of a group, those that have waited longest first, and says how many.
CREATE FUNCTION windlass.delete_members(p_wall bigint, p_group text, p_limit integer) RETURNS integer LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_seqs bigint[];
    v_events windlass.event[];
BEGIN
    SELECT array_agg(j.seq) INTO v_seqs FROM (SELECT seq FROM windlass.job WHERE state = 3 AND member_of = p_group
        ORDER BY pending_at, seq LIMIT p_limit FOR UPDATE SKIP LOCKED) AS j;
    WITH gone AS (DELETE FROM windlass.job WHERE seq = ANY (v_seqs) AND state = 3 RETURNING line, tenant)
    SELECT array_agg(ROW(g.line, g.tenant, 3, NULL, NULL, NULL, NULL, NULL)::windlass.event) INTO v_events FROM gone AS g;
    IF v_events IS NOT NULL THEN
        PERFORM windlass.remove_side(v_seqs);
        PERFORM windlass.book(coalesce(p_wall, windlass.now_micros()), v_events);
        PERFORM windlass.left_group(p_group);
    END IF;
    RETURN coalesce(cardinality(v_events), 0);
END $$;
