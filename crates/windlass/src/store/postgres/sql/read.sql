-- read.sql: what people look at.
-- in: see each function    out: functions
-- guarantee: each is of one moment, bounded, and writes nothing

-- One job with everything, and the clocks; no row if there is none.
-- in: the clocks as tick() takes them; the id
-- out: also its checkpoint, its log as [[number, at, attempt, line], ..], and the job that it is blocked by
CREATE FUNCTION windlass.read_job(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_id text)
RETURNS TABLE (job windlass.record, wall bigint, mono bigint, checkpoint bytea, log text, waits_for text)
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_tick record;
BEGIN
    -- Most of those that somebody asks for have not ended, or a short while ago; the rest is in one of many parts.
    SELECT r.* INTO job FROM windlass.record AS r WHERE r.id = p_id AND (r.day = 0 OR r.day IS NULL);
    IF NOT FOUND THEN
        SELECT r.* INTO job FROM windlass.record AS r WHERE r.id = p_id;
    END IF;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_tick := windlass.tick(p_wall, p_start, p_told, p_elapsed, 0, false);
    wall := v_tick.wall;
    mono := v_tick.mono;
    SELECT c.value INTO checkpoint FROM windlass.checkpoint AS c WHERE c.seq = job.seq;
    SELECT json_agg(json_build_array(l.number, l.at, l.attempt, l.line) ORDER BY l.number)::text INTO log
    FROM windlass.log AS l WHERE l.seq = job.seq;
    IF job.state = 2 THEN
        SELECT j.id INTO waits_for FROM windlass.job AS j
        WHERE j.exclusive = job.exclusive AND j.exclusive IS NOT NULL AND j.state IN (0, 4);
    END IF;
    RETURN NEXT;
END $$;

-- The counts of every line, of one moment: what is added up and what is not yet.
CREATE VIEW windlass.line_count AS
SELECT line.id, line.queue, line.kind, line.undeclared_us,
    line.enqueued + coalesce(more.enqueued, 0) AS enqueued, line.removed + coalesce(more.removed, 0) AS removed,
    ARRAY[line.pending + coalesce(more.pending, 0), line.scheduled + coalesce(more.scheduled, 0),
        line.blocked + coalesce(more.blocked, 0), line.aggregating + coalesce(more.aggregating, 0),
        line.running + coalesce(more.running, 0), line.retrying + coalesce(more.retrying, 0),
        line.completed + coalesce(more.completed, 0), line.dead + coalesce(more.dead, 0),
        line.cancelled + coalesce(more.cancelled, 0)]::bigint[] AS by_state
FROM windlass.line AS line
LEFT JOIN (
    SELECT line, sum(enqueued) AS enqueued, sum(removed) AS removed, sum(pending) AS pending, sum(scheduled) AS scheduled,
        sum(blocked) AS blocked, sum(aggregating) AS aggregating, sum(running) AS running, sum(retrying) AS retrying,
        sum(completed) AS completed, sum(dead) AS dead, sum(cancelled) AS cancelled
    FROM windlass.ledger GROUP BY line
) AS more ON more.line = line.id;

-- Since when the oldest job of a line has been pending: looks at two jobs of each priority.
-- why: those that went to the front have places below zero, the newest first
CREATE FUNCTION windlass.oldest_pending(p_line integer) RETURNS bigint LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_oldest bigint;
    v_stretch bigint;
    v_below smallint;
BEGIN
    v_stretch := p_line * 256::bigint - 128;
    LOOP
        SELECT line * 256::bigint - priority INTO v_stretch FROM windlass.job WHERE state = 0 AND NOT suspect
            AND line * 256::bigint - priority > v_stretch AND line * 256::bigint - priority < p_line * 256::bigint + 128
            ORDER BY line * 256::bigint - priority LIMIT 1;
        EXIT WHEN NOT FOUND;
        v_oldest := least(v_oldest,
            (SELECT pending_at FROM windlass.job WHERE line * 256::bigint - priority = v_stretch AND state = 0
                AND NOT suspect AND ord >= 0 ORDER BY ord LIMIT 1),
            (SELECT pending_at FROM windlass.job WHERE line * 256::bigint - priority = v_stretch AND state = 0
                AND NOT suspect AND ord < 0 ORDER BY ord DESC LIMIT 1));
    END LOOP;
    v_below := 1000;
    LOOP
        SELECT priority INTO v_below FROM windlass.job WHERE line = p_line AND state = 0 AND suspect
            AND priority < v_below ORDER BY priority DESC LIMIT 1;
        EXIT WHEN NOT FOUND;
        v_oldest := least(v_oldest,
            (SELECT pending_at FROM windlass.job WHERE line = p_line AND state = 0 AND suspect
                AND priority = v_below AND ord >= 0 ORDER BY ord LIMIT 1),
            (SELECT pending_at FROM windlass.job WHERE line = p_line AND state = 0 AND suspect
                AND priority = v_below AND ord < 0 ORDER BY ord DESC LIMIT 1));
    END LOOP;
    RETURN v_oldest;
END $$;

-- The first group with members past p_past and before p_end, by its name in job.member_of.
CREATE FUNCTION windlass.next_group(p_past text, p_end text) RETURNS text LANGUAGE sql STABLE
SET jit = off SET enable_seqscan = off AS $$
    SELECT member_of FROM windlass.job
    WHERE state = 3 AND member_of > p_past COLLATE "C" AND member_of < p_end COLLATE "C" ORDER BY member_of LIMIT 1
$$;

-- Up to p_limit groups past p_past and before p_end.
-- out: the name, how many members (counted up to p_most), the oldest, the newest, until when a flush was asked for
CREATE FUNCTION windlass.list_groups(p_past text, p_end text, p_limit integer, p_most integer)
RETURNS TABLE (name text, size bigint, oldest bigint, newest bigint, until bigint) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    name := p_past;
    FOR i IN 1..p_limit LOOP
        name := windlass.next_group(name, p_end);
        EXIT WHEN name IS NULL;
        SELECT (SELECT count(*) FROM (SELECT 1 FROM windlass.job WHERE state = 3 AND member_of = name LIMIT p_most) AS c),
            (SELECT min(pending_at) FROM windlass.job WHERE state = 3 AND member_of = name),
            (SELECT max(pending_at) FROM windlass.job WHERE state = 3 AND member_of = name),
            (SELECT f.until FROM windlass.flush AS f WHERE f.member_of = name)
        INTO size, oldest, newest, until;
        RETURN NEXT;
    END LOOP;
END $$;

-- How many jobs of these queues and kinds have not ended, and one more if a member waits in a group of these names.
-- in: patterns, each exact or a prefix
CREATE FUNCTION windlass.outstanding(p_queues text[], p_patterns text[], p_exact boolean[], p_groups text[],
    p_groups_exact boolean[]) RETURNS bigint LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_sum bigint;
    v_queue text;
    v_name text;
BEGIN
    SELECT coalesce(sum(c.by_state[1] + c.by_state[2] + c.by_state[3] + c.by_state[5] + c.by_state[6]), 0) INTO v_sum
    FROM windlass.line_count AS c
    WHERE c.queue = ANY (p_queues) AND EXISTS (SELECT 1 FROM unnest(p_patterns, p_exact) AS p (pattern, exact)
        WHERE CASE WHEN p.exact THEN c.kind = p.pattern ELSE starts_with(c.kind, p.pattern) END);
    IF cardinality(p_groups) > 0 THEN
        FOREACH v_queue IN ARRAY p_queues LOOP
            v_name := v_queue || E'\x1f';
            LOOP
                v_name := windlass.next_group(v_name, v_queue || E'\x20');
                EXIT WHEN v_name IS NULL;
                IF EXISTS (SELECT 1 FROM unnest(p_groups, p_groups_exact) AS p (pattern, exact)
                    WHERE CASE WHEN p.exact THEN split_part(v_name, E'\x1f', 2) = p.pattern
                        ELSE starts_with(split_part(v_name, E'\x1f', 2), p.pattern) END) THEN
                    RETURN v_sum + 1;
                END IF;
            END LOOP;
        END LOOP;
    END IF;
    RETURN v_sum;
END $$;

-- The jobs of some states (none: of all) past p_after, in order of enqueueing, at most p_most, and their parts of history.
-- why: few jobs of a million may be in these states: their indexes know them; in line, or completed, are so many that all
-- are walked. A state as a range, since the indexes for one state alone have another order
CREATE FUNCTION windlass.look(p_states smallint[], p_after bigint, p_most integer)
RETURNS TABLE (seq bigint, day integer) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    v_state smallint;
BEGIN
    IF cardinality(p_states) = 0 OR 0 = ANY (p_states) THEN
        RETURN QUERY SELECT s.seq, s.day FROM (
            (SELECT seq, day FROM windlass.job WHERE seq > p_after ORDER BY seq LIMIT p_most)
            UNION ALL (SELECT seq, day FROM windlass.history WHERE seq > p_after ORDER BY seq LIMIT p_most)) AS s;
        RETURN;
    END IF;
    FOREACH v_state IN ARRAY p_states LOOP
        IF v_state = 4 THEN
            RETURN QUERY SELECT r.seq, r.day FROM (SELECT seq, day FROM windlass.job WHERE state = 4 OFFSET 0) AS r
                WHERE r.seq > p_after ORDER BY r.seq LIMIT p_most;
        ELSIF v_state < 6 THEN
            RETURN QUERY SELECT seq, day FROM windlass.job WHERE state IN (1, 2, 3, 5)
                AND (state, seq) > (v_state, p_after) AND state <= v_state ORDER BY state, seq LIMIT p_most;
        ELSIF v_state = 6 THEN
            RETURN QUERY SELECT seq, day FROM windlass.history WHERE seq > p_after ORDER BY seq LIMIT p_most;
        ELSE
            RETURN QUERY SELECT seq, day FROM windlass.history WHERE state IN (7, 8) AND state = v_state AND seq > p_after
                ORDER BY seq LIMIT p_most;
        END IF;
    END LOOP;
END $$;

-- A page of a listing: up to p_limit jobs that pass a filter, in order of enqueueing.
-- out: in each row where to go on (null: at the end), and a job; one row without a job if there is none
-- why: looks at p_looks jobs at most, and only into the parts of history that they stand in
CREATE FUNCTION windlass.list_jobs(p_states smallint[], p_after bigint, p_limit integer, p_looks integer, p_kind text,
    p_queue text, p_tenant text, p_tag text) RETURNS TABLE (next bigint, job windlass.record) LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_row record;
    v_looked integer := 0;
    v_plain boolean := cardinality(p_states) = 0 AND coalesce(p_kind, p_queue, p_tenant, p_tag) IS NULL;
    v_seqs bigint[] := '{}';
    v_days integer[] := '{}';
    v_next bigint;
BEGIN
    FOR v_row IN
        SELECT s.seq, s.day, j.seq IS NOT NULL
            AND (cardinality(p_states) = 0 OR j.state = ANY (p_states)) AND (p_kind IS NULL OR l.kind = p_kind)
            AND (p_queue IS NULL OR l.queue = p_queue) AND (p_tenant IS NULL OR j.tenant IS NOT DISTINCT FROM p_tenant)
            AND (p_tag IS NULL OR coalesce(p_tag = ANY (j.tags), false)) AS passes
        FROM (SELECT DISTINCT look.seq, look.day
            FROM windlass.look(p_states, p_after, CASE WHEN v_plain THEN p_limit ELSE p_looks END + 1) AS look
            ORDER BY look.seq LIMIT CASE WHEN v_plain THEN p_limit ELSE p_looks END + 1) AS s
        LEFT JOIN LATERAL (
            SELECT seq, line, state, tenant, tags FROM windlass.job WHERE job.seq = s.seq
            UNION ALL SELECT seq, line, state, tenant, tags FROM windlass.history
            WHERE history.seq = s.seq AND history.day = s.day) AS j ON true
        LEFT JOIN windlass.line AS l ON l.id = j.line
        ORDER BY s.seq
    LOOP
        IF cardinality(v_seqs) >= p_limit OR v_looked >= p_looks THEN
            v_next := v_row.seq - 1;
            EXIT;
        END IF;
        v_looked := v_looked + 1;
        IF v_row.passes THEN
            v_seqs := array_append(v_seqs, v_row.seq);
            v_days := array_append(v_days, v_row.day);
        END IF;
    END LOOP;
    v_days := ARRAY(SELECT DISTINCT d.day FROM unnest(v_days) AS d (day) WHERE d.day IS NOT NULL);
    RETURN QUERY SELECT v_next, r FROM windlass.record AS r
        WHERE r.seq = ANY (v_seqs) AND (r.day = ANY (v_days) OR r.day IS NULL) ORDER BY r.seq;
    IF NOT FOUND THEN
        RETURN QUERY SELECT v_next, NULL::windlass.record;
    END IF;
END $$;

-- What ended since a minute, of each line: the sums, and the histograms as arrays of slots and counts.
CREATE FUNCTION windlass.tallies(p_minute bigint)
RETURNS TABLE (queue text, kind text, completed bigint, retried bigint, dead bigint, cancelled bigint, duration_us bigint,
    wait_slots smallint[], wait_counts bigint[], run_slots smallint[], run_counts bigint[]) LANGUAGE sql STABLE AS $$
    WITH same AS (
        SELECT id, min(id) OVER (PARTITION BY queue, kind) AS first FROM windlass.line
    ), sums AS (
        SELECT same.first AS line, sum(completed) AS completed, sum(retried) AS retried, sum(dead) AS dead, sum(cancelled) AS cancelled,
            least(sum(duration_us), 9223372036854775807) AS duration_us
        FROM (SELECT line, completed, retried, dead, cancelled, duration_us FROM windlass.bucket WHERE minute >= p_minute
            UNION ALL SELECT line, did_complete, did_retry, did_die, did_cancel, duration_us
            FROM windlass.ledger WHERE minute >= p_minute AND did_complete + did_retry + did_die + did_cancel > 0) AS b
        JOIN same ON same.id = b.line GROUP BY same.first
    ), slots AS (
        SELECT same.first AS line, ran, slot, sum(n)::bigint AS n
        FROM (SELECT line, ran, slot, n FROM windlass.bucket_slot WHERE minute >= p_minute
            UNION ALL SELECT line, false, unnest(waits), 1 FROM windlass.ledger WHERE minute >= p_minute
            UNION ALL SELECT line, true, unnest(runs), 1 FROM windlass.ledger WHERE minute >= p_minute) AS s
        JOIN same ON same.id = s.line GROUP BY same.first, ran, slot
    ), histograms AS (
        SELECT line, array_agg(slot) FILTER (WHERE NOT ran) AS wait_slots, array_agg(n) FILTER (WHERE NOT ran) AS wait_counts,
            array_agg(slot) FILTER (WHERE ran) AS run_slots, array_agg(n) FILTER (WHERE ran) AS run_counts
        FROM slots GROUP BY line
    )
    SELECT line.queue, line.kind, sums.completed::bigint, sums.retried::bigint, sums.dead::bigint, sums.cancelled::bigint,
        sums.duration_us::bigint, h.wait_slots, h.wait_counts, h.run_slots, h.run_counts
    FROM sums JOIN windlass.line AS line ON line.id = sums.line LEFT JOIN histograms AS h ON h.line = sums.line
$$;

-- The same of each tenant.
CREATE FUNCTION windlass.tenant_tallies(p_minute bigint)
RETURNS TABLE (tenant text, completed bigint, retried bigint, dead bigint, cancelled bigint, duration_us bigint,
    wait_slots smallint[], wait_counts bigint[], run_slots smallint[], run_counts bigint[]) LANGUAGE sql STABLE AS $$
    WITH sums AS (
        SELECT tenant, sum(completed) AS completed, sum(retried) AS retried, sum(dead) AS dead, sum(cancelled) AS cancelled,
            least(sum(duration_us), 9223372036854775807) AS duration_us
        FROM (SELECT tenant, completed, retried, dead, cancelled, duration_us FROM windlass.tenant_bucket
                WHERE minute >= p_minute
            UNION ALL SELECT tenant, did_complete, did_retry, did_die, did_cancel, duration_us
            FROM windlass.ledger WHERE minute >= p_minute AND tenant IS NOT NULL
                AND did_complete + did_retry + did_die + did_cancel > 0) AS b
        GROUP BY tenant
    ), slots AS (
        SELECT tenant, ran, slot, sum(n)::bigint AS n
        FROM (SELECT tenant, ran, slot, n FROM windlass.tenant_slot WHERE minute >= p_minute
            UNION ALL SELECT tenant, false, unnest(waits), 1 FROM windlass.ledger WHERE minute >= p_minute
            UNION ALL SELECT tenant, true, unnest(runs), 1 FROM windlass.ledger WHERE minute >= p_minute) AS s
        WHERE tenant IS NOT NULL GROUP BY tenant, ran, slot
    ), histograms AS (
        SELECT tenant, array_agg(slot) FILTER (WHERE NOT ran) AS wait_slots,
            array_agg(n) FILTER (WHERE NOT ran) AS wait_counts, array_agg(slot) FILTER (WHERE ran) AS run_slots,
            array_agg(n) FILTER (WHERE ran) AS run_counts
        FROM slots GROUP BY tenant
    )
    SELECT sums.tenant, sums.completed::bigint, sums.retried::bigint, sums.dead::bigint, sums.cancelled::bigint,
        sums.duration_us::bigint, h.wait_slots, h.wait_counts, h.run_slots, h.run_counts
    FROM sums LEFT JOIN histograms AS h ON h.tenant = sums.tenant
$$;
