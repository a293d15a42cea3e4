-- kept.sql: which ids are taken by jobs that have ended.
-- in: see each function    out: functions
-- why: history stands in as many parts as days are kept, and each has an index of its own: to look into all of them costs
-- an enqueue more than all the rest of it. An id that the client made for the job that it sends is nobody's yet and is not
-- looked for. One of a caller stands in `kept`. One that looks as if we had made it may be one of ours that is sent again,
-- so all parts are looked through; it needs no row of its own, and they are most.

-- Whether an id is no UUID of version 7, which are what we make.
CREATE FUNCTION windlass.named(p_id text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT NOT (length(p_id) = 36 AND substr(p_id, 15, 1) = '7')
$$;

-- The jobs of these ids that have ended, and where they stand.
-- why: to plan for a hundred parts costs more than to look into them, so one plan is kept
CREATE FUNCTION windlass.ended(p_ids text[]) RETURNS TABLE (id text, seq bigint, day integer, state smallint)
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_named text[] := ARRAY(SELECT u.id FROM unnest(p_ids) AS u (id) WHERE windlass.named(u.id));
    v_made text[] := ARRAY(SELECT u.id FROM unnest(p_ids) AS u (id) WHERE NOT windlass.named(u.id));
BEGIN
    -- A row whose job is not in history is of a part that is being removed: its id is free.
    IF EXISTS (SELECT 1 FROM windlass.kept AS k WHERE k.id = ANY (v_named)) THEN
        RETURN QUERY SELECT k.id, h.seq, h.day, h.state FROM windlass.kept AS k
            JOIN windlass.history AS h ON h.seq = k.seq AND h.day = k.day WHERE k.id = ANY (v_named);
    END IF;
    IF cardinality(v_made) > 0 THEN
        RETURN QUERY SELECT h.id, h.seq, h.day, h.state FROM windlass.history AS h WHERE h.id = ANY (v_made);
    END IF;
END $$;

-- Notes that a caller's id is taken by a job that has ended.
-- why: what is overwritten is of a part that is being removed
CREATE FUNCTION windlass.keep(p_id text, p_seq bigint, p_day integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO windlass.kept (id, seq, day) VALUES (p_id, p_seq, p_day)
    ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, day = excluded.day;
END $$;

-- Frees ids of callers whose jobs are not in history any more.
CREATE FUNCTION windlass.free(p_ids text[], p_seqs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM windlass.kept WHERE id = ANY (p_ids) AND seq = ANY (p_seqs);
END $$;

-- Takes a job out of history.
CREATE FUNCTION windlass.unkeep(p_job windlass.job) RETURNS void LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM windlass.history WHERE seq = p_job.seq AND day = p_job.day;
    PERFORM windlass.free(ARRAY[p_job.id], ARRAY[p_job.seq]);
END $$;
