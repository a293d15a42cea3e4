-- schedules.sql: changes a schedule, if it is still the one that was read, and enqueues what follows from that.
-- in: jobs as enqueue_jobs takes them, maybe none; queue and name; the version that was read (null: there was none); what it
--   says from now on (null: it is removed with its history); lines for its history; how many of those are kept
-- out: its version now; 0: it is removed; null: it is another one than was read, so nothing has changed
-- guarantee: the change, the jobs and the history are one step. Of many who change one version one wins: they stand in line
--   at the schedule's row, and whoever comes to it late finds another version.
-- why: the schedule before its jobs. Who enqueues waits for no schedule, so nobody waits in a circle. Versions are fences,
--   which no restored copy of the store repeats. Lines are deleted between two numbers: from the first on, all that were
--   deleted before would be walked over.
CREATE FUNCTION windlass.change_schedule(p_wall bigint, p_ids text[], p_queues text[], p_kinds text[], p_payloads bytea[],
    p_tags text[], p_headers text[], p_tenants text[], p_priorities smallint[], p_retries bigint[], p_timeouts bigint[],
    p_retentions bigint[], p_starts smallint[], p_start_us bigint[], p_deadlines bigint[], p_keys bytea[],
    p_ttls bigint[], p_groups text[], p_fresh boolean[], p_exclusives text[], p_queue text, p_name text, p_from bigint, p_to bytea,
    p_lines bytea[], p_keep bigint) RETURNS bigint LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_id bigint;
    v_revision bigint := 0;
    v_lines bigint;
    v_more bigint := cardinality(p_lines);
BEGIN
    IF p_to IS NULL THEN
        DELETE FROM windlass.schedule AS s WHERE s.queue = p_queue AND s.name = p_name AND s.revision = p_from
        RETURNING s.id, s.lines INTO v_id, v_lines;
    ELSIF p_from IS NULL THEN
        INSERT INTO windlass.schedule AS s (queue, name, revision, lines, says)
        VALUES (p_queue, p_name, nextval('windlass.fence'), v_more, p_to) ON CONFLICT (queue, name) DO NOTHING
        RETURNING s.id, s.revision, s.lines INTO v_id, v_revision, v_lines;
    ELSE
        UPDATE windlass.schedule AS s SET revision = nextval('windlass.fence'), lines = s.lines + v_more, says = p_to
        WHERE s.queue = p_queue AND s.name = p_name AND s.revision = p_from
        RETURNING s.id, s.revision, s.lines INTO v_id, v_revision, v_lines;
    END IF;
    IF v_id IS NULL AND (p_to IS NOT NULL OR p_from IS NOT NULL
        OR EXISTS (SELECT 1 FROM windlass.schedule AS s WHERE s.queue = p_queue AND s.name = p_name)) THEN
        RETURN NULL;
    END IF;
    IF p_to IS NULL THEN
        DELETE FROM windlass.schedule_line WHERE schedule = v_id AND number > v_lines - p_keep AND number <= v_lines;
    ELSIF v_more > 0 THEN
        INSERT INTO windlass.schedule_line (schedule, number, says)
        SELECT v_id, v_lines - v_more + l.n, l.says FROM unnest(p_lines) WITH ORDINALITY AS l (says, n);
        DELETE FROM windlass.schedule_line
        WHERE schedule = v_id AND number > v_lines - v_more - p_keep AND number <= v_lines - p_keep;
    END IF;
    IF cardinality(p_ids) > 0 THEN
        -- One that is there already is left as it is.
        PERFORM 1 FROM windlass.enqueue_exclusive(p_wall, p_ids, p_queues, p_kinds, p_payloads, p_tags, p_headers, p_tenants,
            p_priorities, p_retries, p_timeouts, p_retentions, p_starts, p_start_us, p_deadlines, p_keys, p_ttls,
            p_groups, p_fresh, p_exclusives, false);
    END IF;
    RETURN v_revision;
END $$;
