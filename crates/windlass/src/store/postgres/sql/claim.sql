-- claim.sql: takes pending jobs: merges the heads of the lines that the request may take from, never looking at others.
-- in: see claim_jobs    out: see claim_jobs
-- guarantee: a job goes to one claimer; a repeat with the same number gets the same jobs, those that are still held
-- why: an entry of the index outlives its job until nobody's snapshot can see it any more, so in a line that is worked off
--   while somebody reads for minutes the dead pile up in front. Therefore the line is walked from its front once, to find
--   its head, and every later step begins there; and a caller that was told of a long walk begins at its marks.

-- The heads of the lines: the first pending job of each line and priority (together a stretch of the index), and, if that
-- one was put in front (below zero), also the first one that was not.
-- in: marks, rising, one to a stretch: places before which nothing is looked for but what was put in front. None: everything
--   is looked through.
-- why: each step seeks the next stretch, so what it costs is the number of those with jobs, however many jobs stand in them
--   and however many lines the store has ever seen
CREATE FUNCTION windlass.heads(p_stretches bigint[], p_marks bigint[])
RETURNS TABLE (stretch bigint, ord bigint) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY WITH RECURSIVE found AS (
        SELECT h.stretch, h.ord, b.before
        FROM unnest(-1::bigint || p_stretches, p_stretches || 9223372036854775807) AS b (after, before)
        CROSS JOIN LATERAL (SELECT j.line * 256::bigint - j.priority AS stretch, j.ord FROM windlass.job AS j
            WHERE j.state = 0 AND NOT j.suspect AND j.line * 256::bigint - j.priority > b.after
                AND j.line * 256::bigint - j.priority < b.before
            ORDER BY j.line * 256::bigint - j.priority, j.ord LIMIT 1) AS h
        UNION ALL
        SELECT h.stretch, h.ord, f.before
        FROM found AS f
        CROSS JOIN LATERAL (SELECT j.line * 256::bigint - j.priority AS stretch, j.ord FROM windlass.job AS j
            WHERE j.state = 0 AND NOT j.suspect AND j.line * 256::bigint - j.priority > f.stretch
                AND j.line * 256::bigint - j.priority < f.before
            ORDER BY j.line * 256::bigint - j.priority, j.ord LIMIT 1) AS h
    ), marked AS (
        SELECT * FROM unnest(p_stretches, p_marks) AS m (stretch, ord)
    )
    SELECT f.stretch, f.ord FROM found AS f
    UNION ALL
    SELECT f.stretch, h.ord FROM (SELECT f.stretch, 0 AS ord FROM found AS f WHERE f.ord < 0
        UNION ALL SELECT m.stretch, m.ord FROM marked AS m) AS f
    CROSS JOIN LATERAL (SELECT j.ord FROM windlass.job AS j WHERE j.line * 256::bigint - j.priority = f.stretch
        AND j.state = 0 AND NOT j.suspect AND j.ord >= f.ord ORDER BY j.ord LIMIT 1) AS h
    UNION ALL
    SELECT m.stretch, h.ord FROM marked AS m
    CROSS JOIN LATERAL (SELECT j.ord FROM windlass.job AS j WHERE j.line * 256::bigint - j.priority = m.stretch
        AND j.state = 0 AND NOT j.suspect AND j.ord < 0 ORDER BY j.ord LIMIT 1) AS h;
END $$;

-- The lines in which suspects wait.
CREATE FUNCTION windlass.suspected() RETURNS SETOF integer LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY WITH RECURSIVE suspected AS (
        (SELECT line FROM windlass.job WHERE state = 0 AND suspect ORDER BY line LIMIT 1)
        UNION ALL
        SELECT (SELECT job.line FROM windlass.job WHERE state = 0 AND suspect AND job.line > suspected.line
            ORDER BY job.line LIMIT 1)
        FROM suspected WHERE suspected.line IS NOT NULL
    )
    SELECT line FROM suspected WHERE line IS NOT NULL;
END $$;

-- How many entries of the index of pending jobs this session has walked, dead ones too.
CREATE FUNCTION windlass.walked() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN coalesce(pg_stat_get_xact_tuples_returned('windlass.job_pending'::regclass), 0);
END $$;

-- in: the clocks as tick() takes them; the request: its queues and their quotas; the rules of its kinds (a pattern, exact
--   or a prefix, and its room); the kinds that are quick; marks as heads() takes them
-- out: first a row without seq: the wall clock, how long the oldest suspect waits, the heads that were found, how many
--   entries were walked to find them, and the highest place that was given before; then the jobs as they should run
-- why: who is to be taken is found without a lock; then as many are locked in each line as were found there, passing
--   over those that another claimer has locked, so that claimers neither wait for each other nor lock what they leave
CREATE FUNCTION windlass.claim_jobs(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_server uuid,
    p_sequence bigint, p_limit integer, p_slots integer, p_lease bigint, p_suspect boolean, p_queues text[],
    p_quotas integer[], p_patterns text[], p_exact boolean[], p_rooms integer[], p_quick text[],
    p_stretches bigint[], p_marks bigint[])
RETURNS TABLE (wall bigint, suspect_us bigint, walked bigint, place bigint, stretches bigint[], ords bigint[], seq bigint, queue text, kind text, id text, priority smallint,
    max_retry bigint, timeout_us bigint, retention_us bigint, deadline bigint, tenant text, unique_key bytea,
    unique_ttl_us bigint, payload bytea, tags text[], headers text, member_of text, fence bigint, attempt integer,
    failures integer, crashes integer, snoozes integer, created_at bigint, waited_us bigint, checkpoint bytea, exclusive text)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_tick record;
    v_last windlass.claim;
    v_fence bigint;
    v_lines integer[];
    v_stretches bigint[];
    v_ords bigint[];
    v_shares integer[];
    v_rules integer[];
    v_quick boolean[];
    v_counts integer[];
    v_wanted integer;
    v_left integer := p_limit;
    v_slots integer := p_slots;
    v_head record;
    v_heads bigint[];
    v_of integer[];
    v_picked bigint[];
    v_seqs bigint[];
    v_tids tid[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    v_tick := windlass.tick(p_wall, p_start, p_told, p_elapsed, 0, false);
    wall := v_tick.wall;
    -- Claims of one server go one after the other.
    PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_server, 7089));
    SELECT * INTO v_last FROM windlass.claim AS c WHERE c.server = p_server AND c.sequence >= p_sequence
    ORDER BY c.sequence DESC LIMIT 1;
    IF v_last.sequence > p_sequence THEN
        -- It arrives late: who sent it has long repeated it and gone on, and would never hear of its jobs.
        RETURN NEXT;
        RETURN;
    END IF;
    IF v_last.sequence = p_sequence THEN
        RETURN NEXT;
        SELECT array_agg(j.seq) INTO v_seqs FROM windlass.lease AS l
        JOIN windlass.job AS j ON j.state = 4 AND j.lease = l.id AND j.fence = v_last.fence WHERE l.server = p_server;
        -- Who asks again counts its time from this request, so the leases do, too.
        PERFORM windlass.renew(p_server, v_tick.mono + p_lease, v_seqs);
        RETURN QUERY SELECT * FROM windlass.claimed(v_seqs, NULL);
        RETURN;
    END IF;

    SELECT last_value INTO place FROM windlass.place;
    walked := windlass.walked();
    SELECT array_agg(h.stretch), array_agg(h.ord) INTO stretches, ords FROM windlass.heads(p_stretches, p_marks) AS h;
    walked := windlass.walked() - walked;

    -- The places to take from; one without `ord` is a line with suspects.
    SELECT array_agg(p.line), array_agg(p.stretch), array_agg(p.ord), array_agg(p.share), array_agg(p.rule),
        array_agg(p.quick)
    INTO v_lines, v_stretches, v_ords, v_shares, v_rules, v_quick FROM (
    SELECT l.id AS line, f.stretch, f.ord, s.n::integer AS share, r.n::integer AS rule, l.kind = ANY (p_quick) AS quick
    FROM (SELECT (h.stretch + 127) / 256 AS line, h.* FROM unnest(stretches, ords) AS h (stretch, ord)
        UNION ALL SELECT s, NULL, NULL FROM windlass.suspected() AS s) AS f
    JOIN windlass.line AS l ON l.id = f.line
    JOIN unnest(p_queues) WITH ORDINALITY AS s (queue, n) ON s.queue = l.queue
    CROSS JOIN LATERAL (
        SELECT r.n FROM unnest(p_patterns, p_exact) WITH ORDINALITY AS r (pattern, exact, n)
        WHERE CASE WHEN r.exact THEN l.kind = r.pattern ELSE starts_with(l.kind, r.pattern) END
        ORDER BY r.exact DESC, octet_length(r.pattern) DESC, r.n DESC LIMIT 1) AS r
    WHERE NOT EXISTS (SELECT 1 FROM windlass.pause AS p WHERE p.queue = l.queue) ORDER BY s.n, f.line) AS p;

    v_fence := nextval('windlass.fence');
    INSERT INTO windlass.claim (server, sequence, fence, at_mono) VALUES (p_server, p_sequence, v_fence, v_tick.mono);
    -- Those before were removed by those before; of one that was never told of, prune_others() removes what is left.
    DELETE FROM windlass.claim AS c WHERE c.server = p_server AND c.sequence BETWEEN p_sequence - 8 AND p_sequence - 1;
    IF v_lines IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT j.seq, j.pending_at INTO v_head
    FROM unnest(v_lines, v_ords, v_rules) AS o (line, ord, rule)
    CROSS JOIN LATERAL (SELECT j.seq, j.pending_at FROM windlass.job AS j
        WHERE j.line = o.line AND j.state = 0 AND j.suspect ORDER BY j.priority DESC, j.ord LIMIT 1) AS j
    WHERE o.ord IS NULL AND coalesce(p_rooms[o.rule], 1) > 0 ORDER BY j.pending_at, j.seq LIMIT 1;
    suspect_us := CASE WHEN v_head.seq IS NOT NULL THEN greatest(wall - v_head.pending_at, 0) END;
    RETURN NEXT;

    IF p_suspect THEN
        v_picked := ARRAY[v_head.seq];
        SELECT array_agg(j.ctid) INTO v_tids FROM (SELECT j.ctid FROM windlass.job AS j
            WHERE j.seq = v_head.seq AND j.state + 0 = 0 FOR UPDATE SKIP LOCKED) AS j;
    ELSE
        v_counts := array_fill(0, ARRAY[cardinality(v_lines)]);
        IF cardinality(v_lines) = 1 THEN
            v_counts[1] := least(p_limit, coalesce(p_rooms[v_rules[1]], p_limit),
                CASE WHEN v_quick[1] THEN p_limit ELSE p_slots END);
        ELSE
            SELECT array_agg(h.seq ORDER BY o.share, h.priority DESC, h.ord),
                array_agg(o.n::integer ORDER BY o.share, h.priority DESC, h.ord)
            INTO v_heads, v_of
            FROM unnest(v_stretches, v_ords, v_shares, v_rules, v_quick) WITH ORDINALITY
                AS o (stretch, ord, share, rule, quick, n)
            CROSS JOIN LATERAL (SELECT j.seq, j.priority, j.ord FROM windlass.job AS j
                WHERE j.line * 256::bigint - j.priority = o.stretch AND j.state = 0 AND NOT j.suspect
                    AND j.ord >= o.ord AND j.ord < CASE WHEN o.ord < 0 THEN 0 ELSE 9223372036854775807 END
                ORDER BY j.ord
                LIMIT least(p_limit, coalesce(p_rooms[o.rule], p_limit), CASE WHEN o.quick THEN p_limit ELSE p_slots END))
                AS h;
            -- Quotas first, then whatever fills the limit.
            FOR pass IN 1..2 LOOP
                FOR share IN 1..cardinality(p_queues) LOOP
                    v_wanted := CASE pass WHEN 1 THEN least(p_quotas[share], v_left) ELSE v_left END;
                    FOR i IN 1..coalesce(cardinality(v_heads), 0) LOOP
                        EXIT WHEN v_wanted <= 0;
                        CONTINUE WHEN v_heads[i] IS NULL OR v_shares[v_of[i]] <> share;
                        IF coalesce(p_rooms[v_rules[v_of[i]]], 1) > 0 AND (v_quick[v_of[i]] OR v_slots > 0) THEN
                            p_rooms[v_rules[v_of[i]]] := p_rooms[v_rules[v_of[i]]] - 1;
                            v_slots := v_slots - (NOT v_quick[v_of[i]])::integer;
                            v_counts[v_of[i]] := v_counts[v_of[i]] + 1;
                            v_picked := array_append(v_picked, v_heads[i]);
                            v_wanted := v_wanted - 1;
                            v_left := v_left - 1;
                        END IF;
                        v_heads[i] := NULL;
                    END LOOP;
                END LOOP;
            END LOOP;
        END IF;
        SELECT array_agg(h.ctid) INTO v_tids
        FROM unnest(v_stretches, v_ords, v_counts) AS o (stretch, ord, wanted)
        CROSS JOIN LATERAL (SELECT j.ctid FROM windlass.job AS j
            WHERE j.line * 256::bigint - j.priority = o.stretch AND j.state = 0 AND NOT j.suspect
                AND j.ord >= o.ord AND j.ord < CASE WHEN o.ord < 0 THEN 0 ELSE 9223372036854775807 END
            ORDER BY j.ord LIMIT o.wanted FOR UPDATE SKIP LOCKED) AS h
        WHERE o.wanted > 0;
    END IF;
    IF v_tids IS NULL THEN
        RETURN;
    END IF;

    INSERT INTO windlass.lease (id, server, until_mono) VALUES (v_fence, p_server, v_tick.mono + p_lease);
    -- They are locked, so they stay where they were found. One statement takes them, notes it and answers.
    RETURN QUERY WITH taken AS (
        UPDATE windlass.job AS j SET state = 4, attempt = j.failures + 1, fence = v_fence, lease = v_fence,
            server = p_server, started_at = v_tick.wall, updated_at = v_tick.wall
        WHERE j.ctid = ANY (v_tids) AND j.state + 0 = 0
        RETURNING j.*
    ), noted AS (
        INSERT INTO windlass.ledger
        SELECT t.line, t.tenant, v_tick.wall / 60000000, 0, 0, -count(*), 0, 0, 0, count(*), 0, 0, 0, 0, 0, 0, 0, 0, 0
        FROM taken AS t GROUP BY t.line, t.tenant
    )
    SELECT NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint[], NULL::bigint[],
        t.seq, l.queue, l.kind, t.id, t.priority, t.max_retry, t.timeout_us, t.retention_us, t.deadline,
        t.tenant, t.unique_key, t.unique_ttl_us, t.payload, t.tags, t.headers, t.member_of, t.fence, t.attempt,
        t.failures, t.crashes, t.snoozes, t.created_at, greatest(t.started_at - coalesce(t.pending_at, t.started_at), 0),
        CASE WHEN t.side THEN (SELECT c.value FROM windlass.checkpoint AS c WHERE c.seq = t.seq) END, t.exclusive
    FROM taken AS t JOIN windlass.line AS l ON l.id = t.line
    ORDER BY array_position(v_picked, t.seq), t.priority DESC, t.ord;
END $$;

-- Running jobs as their handlers need them, as claim_jobs answers them: in the order of p_order (null: none), and else in
-- that of their line.
CREATE FUNCTION windlass.claimed(p_seqs bigint[], p_order bigint[])
RETURNS TABLE (wall bigint, suspect_us bigint, walked bigint, place bigint, stretches bigint[], ords bigint[], seq bigint, queue text, kind text, id text, priority smallint,
    max_retry bigint, timeout_us bigint, retention_us bigint, deadline bigint, tenant text, unique_key bytea,
    unique_ttl_us bigint, payload bytea, tags text[], headers text, member_of text, fence bigint, attempt integer,
    failures integer, crashes integer, snoozes integer, created_at bigint, waited_us bigint, checkpoint bytea, exclusive text)
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint[], NULL::bigint[],
        j.seq, l.queue, l.kind, j.id, j.priority, j.max_retry, j.timeout_us, j.retention_us, j.deadline,
        j.tenant, j.unique_key, j.unique_ttl_us, j.payload, j.tags, j.headers, j.member_of, j.fence, j.attempt,
        j.failures, j.crashes, j.snoozes, j.created_at, greatest(j.started_at - coalesce(j.pending_at, j.started_at), 0),
        CASE WHEN j.side THEN (SELECT c.value FROM windlass.checkpoint AS c WHERE c.seq = j.seq) END, j.exclusive
    FROM unnest(p_seqs) AS u (seq)
    JOIN windlass.job AS j ON j.seq = u.seq AND j.state + 0 = 4
    JOIN windlass.line AS l ON l.id = j.line
    ORDER BY array_position(p_order, j.seq), j.priority DESC, j.ord;
END $$;
