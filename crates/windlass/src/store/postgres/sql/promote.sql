-- promote.sql: puts due jobs into line, at its end, or into their group: as many as the line should hold.
-- in: see promote_jobs    out: see promote_jobs
-- guarantee: each job moves once; what is held back is not touched, and holds back no other line
-- why: what waits for a line and a priority (together a stretch, as in claim.sql) is one range of an index, so the jobs that
--   may come are found without walking over those that may not. The entries of jobs that have come in stay in front of that
--   range until no snapshot can see them; therefore a caller says where it found the first that was left.

-- The stretches where jobs wait for their time, and the first of each.
-- in: marks, rising, one to a stretch: nothing is looked for before them. None: everything is looked through.
CREATE FUNCTION windlass.waiting(p_stretches bigint[], p_ats bigint[], p_seqs bigint[])
RETURNS TABLE (stretch bigint, run_at bigint, seq bigint) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY WITH RECURSIVE found AS (
        SELECT h.stretch, h.run_at, h.seq, b.before
        FROM unnest(-1::bigint || p_stretches, p_stretches || 9223372036854775807) AS b (after, before)
        CROSS JOIN LATERAL (SELECT j.line * 256::bigint - j.priority AS stretch, j.run_at, j.seq FROM windlass.job AS j
            WHERE j.state IN (1, 5) AND j.line * 256::bigint - j.priority > b.after
                AND j.line * 256::bigint - j.priority < b.before
            ORDER BY j.line * 256::bigint - j.priority, j.run_at, j.seq LIMIT 1) AS h
        UNION ALL
        SELECT h.stretch, h.run_at, h.seq, f.before
        FROM found AS f
        CROSS JOIN LATERAL (SELECT j.line * 256::bigint - j.priority AS stretch, j.run_at, j.seq FROM windlass.job AS j
            WHERE j.state IN (1, 5) AND j.line * 256::bigint - j.priority > f.stretch
                AND j.line * 256::bigint - j.priority < f.before
            ORDER BY j.line * 256::bigint - j.priority, j.run_at, j.seq LIMIT 1) AS h
    )
    SELECT f.stretch, f.run_at, f.seq FROM found AS f
    UNION ALL
    SELECT m.stretch, h.run_at, h.seq FROM unnest(p_stretches, p_ats, p_seqs) AS m (stretch, run_at, seq)
    CROSS JOIN LATERAL (SELECT j.run_at, j.seq FROM windlass.job AS j
        WHERE j.state IN (1, 5) AND j.line * 256::bigint - j.priority = m.stretch
            AND (j.run_at, j.seq) >= (m.run_at, m.seq)
        ORDER BY j.run_at, j.seq LIMIT 1) AS h;
END $$;

-- How many jobs of a stretch stand in line from a place on, up to p_most, and the place of the first of them.
CREATE FUNCTION windlass.standing(p_stretch bigint, p_from bigint, p_most bigint, OUT many bigint, OUT first bigint)
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    SELECT count(*), min(s.ord) INTO many, first FROM (SELECT j.ord FROM windlass.job AS j
        WHERE j.line * 256::bigint - j.priority = p_stretch AND j.state = 0 AND NOT j.suspect AND j.ord >= p_from
        ORDER BY j.ord LIMIT p_most) AS s;
END $$;

-- in: the clock; the most jobs to move; the look-ahead of a queue (null: none); what queues may have beyond it; marks as
--   waiting() takes them, and for each stretch of theirs the place before which nobody stands in line
-- out: how many were moved (-1: another promotion was at it), in how long the next one is due that may come (null: none
--   waits), whether any is held back; where the first is in each stretch that is due now, and before which place nobody
--   stands in line there
-- why: a job that was put in front (below zero) is not counted, nor one whose transaction took long to commit: so few do
--   not matter. Of two promotions at once that look at the same line the second one leaves it to the first.
CREATE FUNCTION windlass.promote_jobs(p_wall bigint, p_limit integer, p_look_ahead integer, p_queues text[],
    p_beyond integer[], p_stretches bigint[], p_ats bigint[], p_seqs bigint[], p_from bigint[],
    OUT moved integer, OUT next_us bigint, OUT held_back boolean, OUT stretches bigint[], OUT ats bigint[],
    OUT seqs bigint[], OUT froms bigint[])
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_place bigint;
    v_due bigint[];
    v_queues text[];
    v_rooms bigint[];
    v_beyond bigint[];
    v_ats bigint[];
    v_seqs bigint[];
    v_events windlass.event[];
    v_lined bigint[];
    v_keys text[];
    v_places bigint[];
BEGIN
    moved := 0;
    held_back := false;
    SELECT array_agg(w.stretch ORDER BY w.stretch), array_agg(w.run_at ORDER BY w.stretch),
        array_agg(w.seq ORDER BY w.stretch)
    INTO stretches, ats, seqs FROM windlass.waiting(p_stretches, p_ats, p_seqs) AS w;
    SELECT min(a) INTO next_us FROM unnest(ats) AS a;
    IF next_us IS NULL OR next_us > v_now THEN
        next_us := next_us - v_now;
        stretches := NULL;
        RETURN;
    END IF;
    IF p_look_ahead IS NOT NULL AND NOT pg_try_advisory_xact_lock(7090, 'windlass.job'::regclass::oid::integer) THEN
        -- Somebody is at it.
        moved := -1;
        next_us := NULL;
        held_back := true;
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT last_value INTO v_place FROM windlass.place;

    -- The stretches that have due jobs, and how many may come of each.
    SELECT array_agg(d.stretch ORDER BY d.stretch), array_agg(d.run_at ORDER BY d.stretch),
        array_agg(d.seq ORDER BY d.stretch), array_agg(d.queue ORDER BY d.stretch),
        array_agg(CASE WHEN p_look_ahead IS NULL THEN p_limit ELSE d.share - d.many END ORDER BY d.stretch),
        array_agg(coalesce(b.n, 0) ORDER BY d.stretch),
        array_agg(CASE WHEN p_look_ahead IS NULL THEN 0 ELSE coalesce(d.first, v_place) END ORDER BY d.stretch)
    INTO v_due, v_ats, v_seqs, v_queues, v_rooms, v_beyond, v_lined
    FROM (SELECT w.*, s.* FROM (
            SELECT w.stretch, w.run_at, w.seq, l.queue, greatest(1, ceil(
                p_look_ahead::numeric / count(*) OVER (PARTITION BY l.queue)))::bigint AS share
            FROM unnest(stretches, ats, seqs) AS w (stretch, run_at, seq)
            JOIN windlass.line AS l ON l.id = (w.stretch + 127) / 256 WHERE w.run_at <= v_now) AS w
        LEFT JOIN unnest(p_stretches, p_from) AS f (stretch, place) ON f.stretch = w.stretch
        CROSS JOIN LATERAL windlass.standing(w.stretch, coalesce(f.place, 0),
            CASE WHEN p_look_ahead IS NULL THEN 0 ELSE w.share END) AS s) AS d
    LEFT JOIN unnest(p_queues, p_beyond) AS b (queue, n) ON b.queue = d.queue;

    -- The earliest of each as far as there is room, then what the queues may have beyond: see decide/flood.rs.
    WITH found AS MATERIALIZED (
        SELECT u.n, u.queue, u.room, u.beyond, c.seq, c.run_at
        FROM unnest(v_due, v_ats, v_seqs, v_queues, v_rooms, v_beyond) WITH ORDINALITY
            AS u (stretch, run_at, seq, queue, room, beyond, n)
        CROSS JOIN LATERAL (SELECT j.seq, j.run_at FROM windlass.job AS j
            WHERE j.state IN (1, 5) AND j.line * 256::bigint - j.priority = u.stretch
                AND (j.run_at, j.seq) >= (u.run_at, u.seq) AND j.run_at <= v_now
            ORDER BY j.run_at, j.seq LIMIT least(p_limit, u.room + u.beyond) FOR UPDATE SKIP LOCKED) AS c
    ), ranked AS (
        SELECT f.*, row_number() OVER (PARTITION BY f.n ORDER BY f.run_at, f.seq) <= f.room AS roomy FROM found AS f
    ), roomy AS MATERIALIZED (
        SELECT r.seq, r.run_at, r.queue FROM ranked AS r WHERE r.roomy ORDER BY r.run_at, r.seq LIMIT p_limit
    ), beyond AS (
        SELECT r.*, row_number() OVER (PARTITION BY r.queue ORDER BY r.run_at, r.seq) AS nth
        FROM ranked AS r WHERE NOT r.roomy
    ), chosen AS (
        SELECT y.seq, y.run_at FROM roomy AS y
        UNION ALL
        (SELECT b.seq, b.run_at FROM beyond AS b
        WHERE b.nth <= b.beyond - (SELECT count(*) FROM roomy AS y WHERE y.queue = b.queue)
        ORDER BY b.run_at, b.seq LIMIT p_limit - (SELECT count(*) FROM roomy))
    ), placed AS MATERIALIZED (
        SELECT nextval('windlass.place') AS place, c.seq FROM (SELECT * FROM chosen ORDER BY run_at, seq) AS c
    ), moved AS (
        UPDATE windlass.job AS j SET state = g.goes, ord = p.place, pending_at = v_now, updated_at = v_now, run_at = NULL
        FROM placed AS p
        JOIN LATERAL (SELECT o.state AS was,
            CASE WHEN o.state = 1 AND o.attempt = 0 AND o.member_of IS NOT NULL THEN 3
                WHEN o.exclusive IS NOT NULL THEN 2 ELSE 0 END AS goes
            FROM windlass.job AS o WHERE o.seq = p.seq) AS g ON true
        WHERE j.seq = p.seq
        RETURNING j.line, j.tenant, g.was, j.state AS went, j.line * 256::bigint - j.priority AS stretch, j.suspect,
            j.exclusive, j.ord
    )
    SELECT array_agg(ROW(m.line, m.tenant, m.was, m.went, NULL, NULL, NULL, NULL)::windlass.event),
        (SELECT array_agg(coalesce(l.n, 0) ORDER BY u.stretch) FROM unnest(v_due) AS u (stretch)
            LEFT JOIN (SELECT m.stretch, count(*) AS n FROM moved AS m WHERE m.went = 0 AND NOT m.suspect
                GROUP BY m.stretch) AS l ON l.stretch = u.stretch),
        array_agg(m.exclusive) FILTER (WHERE m.went = 2), array_agg(m.ord) FILTER (WHERE m.went = 2)
    INTO v_events, v_beyond, v_keys, v_places FROM moved AS m;
    IF v_events IS NOT NULL THEN
        moved := cardinality(v_events);
        PERFORM windlass.book(v_now, v_events);
    END IF;

    -- What waits now.
    SELECT array_agg(w.stretch ORDER BY w.stretch) FILTER (WHERE w.run_at <= v_now),
        array_agg(w.run_at ORDER BY w.stretch) FILTER (WHERE w.run_at <= v_now),
        array_agg(w.seq ORDER BY w.stretch) FILTER (WHERE w.run_at <= v_now),
        array_agg(coalesce(d.place, 0) ORDER BY w.stretch) FILTER (WHERE w.run_at <= v_now),
        min(greatest(w.run_at - v_now, 0)) FILTER (WHERE w.run_at > v_now OR coalesce(d.room, 1) > 0),
        coalesce(bool_or(w.run_at <= v_now AND d.room <= 0), false)
    INTO stretches, ats, seqs, froms, next_us, held_back
    FROM windlass.waiting(stretches, ats, seqs) AS w
    LEFT JOIN (SELECT u.stretch, u.place, CASE WHEN p_look_ahead IS NULL THEN 1 ELSE u.room - u.came END AS room
        FROM unnest(v_due, v_lined, v_rooms, v_beyond) AS u (stretch, place, room, came)) AS d ON d.stretch = w.stretch;
    IF v_keys IS NOT NULL THEN
        -- The last, as always, and in the order in which they came.
        SELECT array_agg(e.key ORDER BY e.ord), array_agg(e.ord ORDER BY e.ord) INTO v_keys, v_places
        FROM unnest(v_keys, v_places) AS e (key, ord);
        PERFORM windlass.let_in(v_now, v_keys, v_places, false);
    END IF;
END $$;
