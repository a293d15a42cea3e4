-- exclusive.sql: of the jobs with one exclusive key, one at most stands in line or runs; who else is ready is blocked.
-- in: see each function    out: functions
-- guarantee: the index job_holder refuses a second holder. A step in which somebody comes in or leaves also lets in who is
--   next; what a transaction of a caller's leaves open, a promotion finds after its commit.
-- why: the job is the slot, so nothing has to be given back. Whoever is ready becomes blocked first, and at its very end the
--   step locks all its keys in one order and looks at each: so who leaves and who comes in see each other, and who has a
--   key's lock waits for nothing but other keys and its commit. A caller's transaction may be open for hours, or of a level
--   that sees only what was there when it began: it locks no key, lets nobody in, and leaves a note.

-- Locks keys until the transaction ends.
-- why: there is room for some thousand locks on a server, so a step with many keys locks all keys at once
CREATE FUNCTION windlass.lock_keys(p_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_ours integer := 'windlass.unsettled'::regclass::oid::integer;
    v_key bigint;
BEGIN
    IF cardinality(p_keys) > 100 THEN
        PERFORM pg_advisory_xact_lock(7091, v_ours);
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(7091, v_ours);
    FOR v_key IN SELECT DISTINCT hashtextextended(u.key, v_ours) FROM unnest(p_keys) AS u (key) ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(v_key);
    END LOOP;
END $$;

-- Lets the next of each key in that nobody holds, at the end of the line. The last thing that a step does.
-- in: the keys (of one that is named twice the first counts), and a place in line for each: where somebody leaves, one that
--   was drawn then, and where somebody comes in, its own (null: one is drawn). Who was blocked before that place comes
--   first, by priority, and gets it; if nobody was, it is the first of those who came in, where it stands.
-- out: how many came in; of how many keys all who wait are locked by somebody: for those a note is left
CREATE FUNCTION windlass.unblock(p_now bigint, p_keys text[], p_places bigint[], OUT many integer, OUT stuck integer)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off AS $$
DECLARE
    v_events windlass.event[];
    v_stuck text[];
BEGIN
    PERFORM windlass.lock_keys(p_keys);
    -- A statement of its own, which sees what those did who had the locks before.
    WITH named AS (
        SELECT DISTINCT ON (u.key) u.key, u.place, u.n FROM unnest(p_keys, p_places) WITH ORDINALITY AS u (key, place, n)
        ORDER BY u.key, u.n
    ), free AS MATERIALIZED (
        SELECT k.key, k.place, coalesce(k.place, 9223372036854775807) AS before, k.n FROM named AS k
        WHERE NOT EXISTS (SELECT 1 FROM windlass.job AS j
            WHERE j.exclusive = k.key AND j.exclusive IS NOT NULL AND j.state IN (0, 4))
    ), chosen AS MATERIALIZED (
        SELECT f.key, f.place, f.n, coalesce(w.seq, c.seq) AS seq, w.seq IS NOT NULL AS waited
        FROM free AS f
        LEFT JOIN LATERAL (SELECT j.seq FROM windlass.job AS j
            WHERE j.exclusive = f.key AND j.state = 2 AND j.ord < f.before
            ORDER BY j.priority DESC, j.ord LIMIT 1 FOR UPDATE SKIP LOCKED) AS w ON true
        LEFT JOIN LATERAL (SELECT j.seq FROM windlass.job AS j
            WHERE w.seq IS NULL AND j.exclusive = f.key AND j.state = 2 AND j.ord >= f.before
            ORDER BY j.ord LIMIT 1 FOR UPDATE SKIP LOCKED) AS c ON true
    ), placed AS MATERIALIZED (
        SELECT c.seq, CASE WHEN c.waited THEN coalesce(c.place, nextval('windlass.place')) END AS ord
        FROM (SELECT * FROM chosen WHERE seq IS NOT NULL ORDER BY n) AS c
    ), came AS (
        UPDATE windlass.job AS j SET state = 0, ord = coalesce(p.ord, j.ord), pending_at = p_now, updated_at = p_now
        FROM placed AS p WHERE j.seq = p.seq RETURNING j.line, j.tenant
    )
    SELECT (SELECT array_agg(ROW(c.line, c.tenant, 2, 0, NULL, NULL, NULL, NULL)::windlass.event) FROM came AS c),
        (SELECT array_agg(c.key) FROM chosen AS c WHERE c.seq IS NULL
            AND EXISTS (SELECT 1 FROM windlass.job AS j WHERE j.exclusive = c.key AND j.state = 2))
    INTO v_events, v_stuck;
    many := coalesce(cardinality(v_events), 0);
    stuck := coalesce(cardinality(v_stuck), 0);
    IF many > 0 THEN
        PERFORM windlass.book(p_now, v_events);
    END IF;
    IF stuck > 0 THEN
        INSERT INTO windlass.unsettled (exclusive) SELECT u.key FROM unnest(v_stuck) AS u (key);
    END IF;
END $$;

-- The same at the end of any step; p_theirs: in a transaction of a caller's, which leaves a note instead.
-- why: one of another level would look at what was there before it had the locks
CREATE FUNCTION windlass.let_in(p_now bigint, p_keys text[], p_places bigint[], p_theirs boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_theirs OR current_setting('transaction_isolation') <> 'read committed' THEN
        INSERT INTO windlass.unsettled (exclusive) SELECT DISTINCT u.key FROM unnest(p_keys) AS u (key);
    ELSE
        PERFORM windlass.unblock(p_now, p_keys, p_places);
    END IF;
END $$;

-- The keys for which those of these jobs wait that are blocked, and their places, as unblock() takes them; null: none is.
CREATE FUNCTION windlass.entered(p_ids text[], OUT keys text[], OUT places bigint[]) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    SELECT array_agg(e.exclusive ORDER BY e.ord), array_agg(e.ord ORDER BY e.ord) INTO keys, places FROM (
        SELECT j.exclusive, j.ord FROM unnest(p_ids) AS u (id)
        JOIN windlass.job AS j ON j.id = u.id AND j.state + 0 = 2) AS e;
END $$;

-- What transactions of callers have left: looks, of up to a thousand notes, who is next. Each note is taken once, whoever asks
-- at the same time.
-- out: how many came in, and whether there may be more
-- why: no more, if all who wait for some key are locked: their notes are there again
CREATE FUNCTION windlass.settle_notes(p_wall bigint, OUT unblocked integer, OUT more boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_keys text[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    WITH gone AS (
        DELETE FROM windlass.unsettled WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM windlass.unsettled LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING exclusive
    )
    SELECT array_agg(DISTINCT g.exclusive), count(*) >= 1000 INTO v_keys, more FROM gone AS g;
    unblocked := 0;
    IF v_keys IS NOT NULL THEN
        SELECT u.many, more AND u.stuck = 0 INTO unblocked, more
        FROM windlass.unblock(coalesce(p_wall, windlass.now_micros()), v_keys, NULL) AS u;
    END IF;
END $$;
