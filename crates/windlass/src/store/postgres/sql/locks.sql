-- locks.sql: locks, and who waits for them.
-- in: see each function    out: functions
-- guarantee: each function is one step, alone under its name: it begins with a lock of the transaction that is named after
--   the lock, so nothing of it is left to a connection, and a pooler of transactions may stand between. A hold is a row;
--   what a caller that is gone has taken lapses by itself.
-- why: another start of the server moves the steady clock past everything (see tick()), while those who hold a lock may
--   live on and count on it. So whoever first looks under a name after a start gives its holders a whole time to live from
--   then on.

-- Alone under this name until the end of the transaction.
-- why: above READ COMMITTED the transaction would look at what was there before it waited, and let two in at once. The
--   code of the error is that of a lost race: nothing has happened, and the call is repeated at the right level
CREATE FUNCTION windlass.alone_in_lock(p_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'locks need READ COMMITTED, and the transaction is %', current_setting('transaction_isolation')
            USING ERRCODE = 'serialization_failure',
            HINT = 'Call from a transaction that begins with BEGIN ISOLATION LEVEL READ COMMITTED.';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('windlass.lock ' || p_name, 7090));
END $$;

-- Takes a slot, or a place in line.
-- in: p_wall .. p_elapsed: see tick(); p_place: how long to keep a place in line, null: none is wanted
-- out: wall; fence: it is held; others: refused, they asked for that many slots; else when something lapses that stands in
--   the way, and how many live waiters stand ahead
CREATE FUNCTION windlass.acquire_lock(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_name text, p_token uuid,
    p_slots integer, p_ttl bigint, p_place bigint, p_holder text,
    OUT wall bigint, OUT fence bigint, OUT others integer, OUT retry_in bigint, OUT ahead integer) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_mono bigint;
    v_start text := coalesce(p_start, windlass.start_of_server());
    v_own bigint;
    v_place bigint;
    v_held integer;
    v_first bigint;
    v_first_place bigint;
BEGIN
    PERFORM windlass.alone_in_lock(p_name);
    SELECT t.wall, t.mono INTO wall, v_mono FROM windlass.tick(p_wall, p_start, p_told, p_elapsed, 0, false) AS t;
    UPDATE windlass.lock AS l SET start = v_start, until_mono = greatest(l.until_mono, v_mono + l.ttl)
    WHERE l.name = p_name AND l.start <> v_start;
    DELETE FROM windlass.lock_line AS w WHERE w.name = p_name AND w.place IN (
        SELECT d.place FROM windlass.lock_line AS d WHERE d.name = p_name AND d.until_mono <= v_mono LIMIT 100);

    UPDATE windlass.lock AS l SET until_mono = v_mono + p_ttl, ttl = p_ttl
    WHERE l.name = p_name AND l.token = p_token RETURNING l.fence INTO v_own;
    IF v_own IS NOT NULL THEN
        fence := v_own;
        RETURN;
    END IF;

    SELECT count(*), min(l.until_mono), min(l.slots) INTO v_held, v_first, others
    FROM windlass.lock AS l WHERE l.name = p_name AND l.until_mono > v_mono;
    IF others IS NULL THEN
        SELECT w.slots INTO others FROM windlass.lock_line AS w
        WHERE w.name = p_name AND w.until_mono > v_mono LIMIT 1;
    END IF;
    SELECT w.place INTO v_place FROM windlass.lock_line AS w
    WHERE w.name = p_name AND w.token = p_token AND w.until_mono > v_mono;
    SELECT count(*), min(w.until_mono) INTO ahead, v_first_place FROM (
        SELECT d.until_mono FROM windlass.lock_line AS d
        WHERE d.name = p_name AND d.until_mono > v_mono AND d.place < coalesce(v_place, 9223372036854775807)
        ORDER BY d.place LIMIT 1000) AS w;
    IF others <> p_slots THEN
        RETURN;
    END IF;
    others := NULL;

    IF ahead < p_slots - v_held THEN
        -- Makes room by what lapsed first. Holds with another number of slots have lapsed, or it had been refused.
        DELETE FROM windlass.lock AS l WHERE l.name = p_name AND (l.slots <> p_slots OR l.token IN (
            SELECT d.token FROM windlass.lock AS d WHERE d.name = p_name AND d.until_mono <= v_mono ORDER BY d.until_mono
            LIMIT greatest(0, (SELECT count(*) FROM windlass.lock AS c WHERE c.name = p_name) - p_slots + 1)));
        DELETE FROM windlass.lock_line AS w WHERE w.name = p_name AND w.token = p_token;
        fence := nextval('windlass.fence');
        INSERT INTO windlass.lock (name, token, fence, slots, holder, since, ttl, until_mono, start)
        VALUES (p_name, p_token, fence, p_slots, p_holder, wall, p_ttl, v_mono + p_ttl, v_start);
        RETURN;
    END IF;

    -- A place that is lost with the server is taken anew.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF p_place IS NOT NULL THEN
        INSERT INTO windlass.lock_line AS w (name, place, token, slots, until_mono)
        VALUES (p_name, nextval('windlass.fence'), p_token, p_slots, v_mono + p_place)
        ON CONFLICT (name, token) DO UPDATE SET until_mono = excluded.until_mono,
            place = CASE WHEN v_place IS NULL THEN excluded.place ELSE w.place END;
    END IF;
    retry_in := coalesce(least(v_first, CASE WHEN v_held < p_slots THEN v_first_place END) - v_mono, 0);
END $$;

-- Renews a hold, if nobody took it.
-- out: wall; held: whether it is held still
CREATE FUNCTION windlass.extend_lock(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_name text, p_token uuid,
    p_fence bigint, p_ttl bigint, OUT wall bigint, OUT held boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_mono bigint;
    v_start text := coalesce(p_start, windlass.start_of_server());
BEGIN
    PERFORM windlass.alone_in_lock(p_name);
    -- After a crash that loses it the holders get a whole time to live anyway.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT t.wall, t.mono INTO wall, v_mono FROM windlass.tick(p_wall, p_start, p_told, p_elapsed, 0, false) AS t;
    UPDATE windlass.lock AS l SET ttl = p_ttl, until_mono = v_mono + p_ttl, start = v_start
    WHERE l.name = p_name AND l.token = p_token AND l.fence = p_fence;
    held := FOUND;
END $$;

-- Gives back a hold, if it has this fence (null: whichever it has), and a place in line.
CREATE FUNCTION windlass.release_lock(p_name text, p_token uuid, p_fence bigint) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_held boolean;
BEGIN
    PERFORM windlass.alone_in_lock(p_name);
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM windlass.lock AS l
    WHERE l.name = p_name AND l.token = p_token AND (p_fence IS NULL OR l.fence = p_fence);
    v_held := FOUND;
    DELETE FROM windlass.lock_line AS w WHERE w.name = p_name AND w.token = p_token;
    RETURN v_held;
END $$;

-- Takes a lock from all who hold it; says from how many.
CREATE FUNCTION windlass.break_lock(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_name text)
RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_mono bigint;
    v_start text := coalesce(p_start, windlass.start_of_server());
    v_held integer;
BEGIN
    PERFORM windlass.alone_in_lock(p_name);
    SELECT t.mono INTO v_mono FROM windlass.tick(p_wall, p_start, p_told, p_elapsed, 0, false) AS t;
    SELECT count(*) INTO v_held FROM windlass.lock AS l
    WHERE l.name = p_name AND (l.until_mono > v_mono OR l.start <> v_start);
    DELETE FROM windlass.lock AS l WHERE l.name = p_name;
    RETURN v_held;
END $$;

-- The locks that are held or waited for: a row for each name, in order.
-- out: holders: as JSON, those who have held it longest, each as [fence, holder, since, time left]
CREATE FUNCTION windlass.list_locks(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_after text,
    p_most integer, p_shown integer)
RETURNS TABLE (name text, slots integer, held integer, waiting integer, holders text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_mono bigint;
    v_start text := coalesce(p_start, windlass.start_of_server());
BEGIN
    SELECT t.mono INTO v_mono FROM windlass.tick(p_wall, p_start, p_told, p_elapsed, 0, false) AS t;
    RETURN QUERY
    WITH named AS (
        (SELECT l.name FROM windlass.lock AS l
            WHERE l.name > p_after AND (l.until_mono > v_mono OR l.start <> v_start)
            GROUP BY l.name ORDER BY l.name LIMIT p_most)
        UNION
        (SELECT w.name FROM windlass.lock_line AS w WHERE w.name > p_after AND w.until_mono > v_mono
            GROUP BY w.name ORDER BY w.name LIMIT p_most)
        ORDER BY 1 LIMIT p_most
    )
    SELECT n.name::text, coalesce(h.slots, w.slots), coalesce(h.held, 0)::integer, coalesce(w.waiting, 0)::integer,
        coalesce(s.holders, '[]')
    FROM named AS n
    LEFT JOIN LATERAL (SELECT min(l.slots) AS slots, count(*) AS held FROM windlass.lock AS l
        WHERE l.name = n.name AND (l.until_mono > v_mono OR l.start <> v_start)) AS h ON true
    LEFT JOIN LATERAL (SELECT json_agg(json_build_array(o.fence, o.holder, o.since, o.time_left) ORDER BY o.fence)::text AS holders
        FROM (SELECT l.fence, l.holder, l.since,
                CASE WHEN l.start = v_start THEN l.until_mono - v_mono ELSE l.ttl END AS time_left
            FROM windlass.lock AS l WHERE l.name = n.name AND (l.until_mono > v_mono OR l.start <> v_start)
            ORDER BY l.fence LIMIT p_shown) AS o) AS s ON true
    LEFT JOIN LATERAL (SELECT min(o.slots) AS slots, count(*) AS waiting FROM (SELECT l.slots FROM windlass.lock_line AS l
        WHERE l.name = n.name AND l.until_mono > v_mono LIMIT 1000) AS o) AS w ON true
    ORDER BY n.name;
END $$;

-- Forgets holds and places in line that lapsed long ago. Says whether there may be more of them.
-- why: of another start of the server are those whose holders may live: they get a whole time to live from now on
CREATE FUNCTION windlass.prune_locks(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_keep bigint, p_limit integer)
RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_mono bigint;
    v_start text := coalesce(p_start, windlass.start_of_server());
    v_more boolean;
    v_many integer;
BEGIN
    SELECT t.mono INTO v_mono FROM windlass.tick(p_wall, p_start, p_told, p_elapsed, 0, false) AS t;
    IF NOT EXISTS (SELECT 1 FROM windlass.lock AS l WHERE l.start <> v_start OR l.until_mono < v_mono - p_keep)
        AND NOT EXISTS (SELECT 1 FROM windlass.lock_line AS w WHERE w.until_mono < v_mono - p_keep) THEN
        RETURN false;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE windlass.lock AS l SET start = v_start, until_mono = greatest(l.until_mono, v_mono + l.ttl)
    WHERE (l.name, l.token) IN (SELECT d.name, d.token FROM windlass.lock AS d
        WHERE d.start <> v_start LIMIT p_limit FOR UPDATE SKIP LOCKED);
    DELETE FROM windlass.lock AS l WHERE (l.name, l.token) IN (SELECT d.name, d.token FROM windlass.lock AS d
        WHERE d.start = v_start AND d.until_mono < v_mono - p_keep LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_many = ROW_COUNT;
    v_more := v_many >= p_limit;
    DELETE FROM windlass.lock_line AS w WHERE (w.name, w.place) IN (SELECT d.name, d.place FROM windlass.lock_line AS d
        WHERE d.until_mono < v_mono - p_keep LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_many = ROW_COUNT;
    RETURN v_more OR v_many >= p_limit;
END $$;
