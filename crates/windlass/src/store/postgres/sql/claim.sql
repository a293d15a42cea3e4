-- claim.sql: takes pending jobs: merges the heads of the lines that the request may take from, never looking at others.
-- in: see claim_jobs    out: see claim_jobs
-- guarantee: a job goes to one claimer; a repeat with the same number gets the same jobs, those that are still held

-- The lines in which a job is pending, and whether suspects are among them.
-- why: each step seeks the next line in a partial index, so what it costs is the number of lines with jobs, however many
-- jobs stand in them and however many lines the store has ever seen
CREATE FUNCTION windlass.filled() RETURNS TABLE (line integer, suspect boolean) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY WITH RECURSIVE ready AS (
        (SELECT line FROM windlass.job WHERE state = 0 AND NOT suspect ORDER BY line LIMIT 1)
        UNION ALL
        SELECT (SELECT job.line FROM windlass.job WHERE state = 0 AND NOT suspect AND job.line > ready.line
            ORDER BY job.line LIMIT 1)
        FROM ready WHERE ready.line IS NOT NULL
    ), suspected AS (
        (SELECT line FROM windlass.job WHERE state = 0 AND suspect ORDER BY line LIMIT 1)
        UNION ALL
        SELECT (SELECT job.line FROM windlass.job WHERE state = 0 AND suspect AND job.line > suspected.line
            ORDER BY job.line LIMIT 1)
        FROM suspected WHERE suspected.line IS NOT NULL
    )
    SELECT line, false FROM ready WHERE line IS NOT NULL
    UNION ALL SELECT line, true FROM suspected WHERE line IS NOT NULL;
END $$;

-- in: the clocks as tick() takes them; the request: its queues and their quotas; the rules of its kinds (a pattern, exact
--   or a prefix, and its room); the kinds that are quick
-- out: first a row without seq: the wall clock and how long the oldest suspect waits; then the jobs as they should run
-- why: who is to be taken is found without a lock; then as many are locked in each line as were found there, passing
--   over those that another claimer has locked, so that claimers neither wait for each other nor lock what they leave
CREATE FUNCTION windlass.claim_jobs(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_server uuid,
    p_sequence bigint, p_limit integer, p_slots integer, p_lease bigint, p_suspect boolean, p_queues text[],
    p_quotas integer[], p_patterns text[], p_exact boolean[], p_rooms integer[], p_quick text[])
RETURNS TABLE (wall bigint, suspect_us bigint, seq bigint, queue text, kind text, id text, priority smallint,
    max_retry bigint, timeout_us bigint, retention_us bigint, deadline bigint, tenant text, unique_key bytea,
    unique_ttl_us bigint, payload bytea, tags text[], headers text, member_of text, fence bigint, attempt integer,
    failures integer, crashes integer, snoozes integer, created_at bigint, waited_us bigint, checkpoint bytea)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_tick record;
    v_last windlass.claim;
    v_fence bigint;
    v_lines integer[];
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
    v_events windlass.event[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    v_tick := windlass.tick(p_wall, p_start, p_told, p_elapsed, 0, false);
    wall := v_tick.wall;
    SELECT * INTO v_last FROM windlass.claim AS c WHERE c.server = p_server FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO windlass.claim (server, sequence, fence, at_mono) VALUES (p_server, -1, 0, v_tick.mono)
        ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT v_last FROM windlass.claim AS c WHERE c.server = p_server FOR UPDATE;
    END IF;
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

    SELECT array_agg(l.id ORDER BY s.n, l.id), array_agg(s.n::integer ORDER BY s.n, l.id),
        array_agg(r.n::integer ORDER BY s.n, l.id), array_agg(l.kind = ANY (p_quick) ORDER BY s.n, l.id)
    INTO v_lines, v_shares, v_rules, v_quick
    FROM (SELECT DISTINCT line FROM windlass.filled()) AS f
    JOIN windlass.line AS l ON l.id = f.line
    JOIN unnest(p_queues) WITH ORDINALITY AS s (queue, n) ON s.queue = l.queue
    CROSS JOIN LATERAL (
        SELECT r.n FROM unnest(p_patterns, p_exact) WITH ORDINALITY AS r (pattern, exact, n)
        WHERE CASE WHEN r.exact THEN l.kind = r.pattern ELSE starts_with(l.kind, r.pattern) END
        ORDER BY r.exact DESC, octet_length(r.pattern) DESC, r.n DESC LIMIT 1) AS r
    WHERE NOT EXISTS (SELECT 1 FROM windlass.pause AS p WHERE p.queue = l.queue);

    v_fence := nextval('windlass.fence');
    UPDATE windlass.claim AS c SET sequence = p_sequence, fence = v_fence, at_mono = v_tick.mono
    WHERE c.server = p_server;
    IF v_lines IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT j.seq, j.pending_at INTO v_head
    FROM unnest(v_lines, v_rules) AS o (line, rule)
    CROSS JOIN LATERAL (SELECT j.seq, j.pending_at FROM windlass.job AS j
        WHERE j.line = o.line AND j.state = 0 AND j.suspect ORDER BY j.priority DESC, j.ord LIMIT 1) AS j
    WHERE coalesce(p_rooms[o.rule], 1) > 0 ORDER BY j.pending_at, j.seq LIMIT 1;
    suspect_us := CASE WHEN v_head.seq IS NOT NULL THEN greatest(wall - v_head.pending_at, 0) END;
    RETURN NEXT;

    IF p_suspect THEN
        v_picked := ARRAY[v_head.seq];
        SELECT array_agg(j.seq) INTO v_seqs FROM (SELECT j.seq FROM windlass.job AS j
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
            FROM unnest(v_lines, v_shares, v_rules, v_quick) WITH ORDINALITY AS o (line, share, rule, quick, n)
            CROSS JOIN LATERAL (SELECT j.seq, j.priority, j.ord FROM windlass.job AS j
                WHERE j.line = o.line AND j.state = 0 AND NOT j.suspect ORDER BY j.priority DESC, j.ord
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
        SELECT array_agg(h.seq) INTO v_seqs
        FROM unnest(v_lines, v_counts) AS o (line, wanted)
        CROSS JOIN LATERAL (SELECT j.seq FROM windlass.job AS j
            WHERE j.line = o.line AND j.state = 0 AND NOT j.suspect ORDER BY j.priority DESC, j.ord
            LIMIT o.wanted FOR UPDATE SKIP LOCKED) AS h
        WHERE o.wanted > 0;
    END IF;
    IF v_seqs IS NULL THEN
        RETURN;
    END IF;

    INSERT INTO windlass.lease (id, server, until_mono) VALUES (v_fence, p_server, v_tick.mono + p_lease);
    WITH taken AS (
        UPDATE windlass.job AS j SET state = 4, attempt = j.failures + 1, fence = v_fence, lease = v_fence,
            server = p_server, started_at = v_tick.wall, updated_at = v_tick.wall
        FROM unnest(v_seqs) AS u (seq) WHERE j.seq = u.seq AND j.state + 0 = 0
        RETURNING j.line, j.tenant
    )
    SELECT array_agg(ROW(t.line, t.tenant, 0, 4, NULL, NULL, NULL, NULL)::windlass.event) INTO v_events FROM taken AS t;
    PERFORM windlass.book(wall, v_events);
    RETURN QUERY SELECT * FROM windlass.claimed(v_seqs, v_picked);
END $$;

-- Running jobs as their handlers need them: in the order of p_order (null: none), and else in that of their line.
CREATE FUNCTION windlass.claimed(p_seqs bigint[], p_order bigint[])
RETURNS TABLE (wall bigint, suspect_us bigint, seq bigint, queue text, kind text, id text, priority smallint,
    max_retry bigint, timeout_us bigint, retention_us bigint, deadline bigint, tenant text, unique_key bytea,
    unique_ttl_us bigint, payload bytea, tags text[], headers text, member_of text, fence bigint, attempt integer,
    failures integer, crashes integer, snoozes integer, created_at bigint, waited_us bigint, checkpoint bytea)
LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT NULL::bigint, NULL::bigint, j.seq, l.queue, l.kind, j.id, j.priority, j.max_retry, j.timeout_us,
        j.retention_us, j.deadline, j.tenant, j.unique_key, j.unique_ttl_us, j.payload, j.tags, j.headers, j.member_of,
        j.fence, j.attempt, j.failures, j.crashes, j.snoozes, j.created_at,
        greatest(j.started_at - coalesce(j.pending_at, j.started_at), 0),
        CASE WHEN j.side THEN (SELECT c.value FROM windlass.checkpoint AS c WHERE c.seq = j.seq) END
    FROM unnest(p_seqs) AS u (seq)
    JOIN windlass.job AS j ON j.seq = u.seq AND j.state + 0 = 4
    JOIN windlass.line AS l ON l.id = j.line
    ORDER BY array_position(p_order, j.seq), j.priority DESC, j.ord;
END $$;
