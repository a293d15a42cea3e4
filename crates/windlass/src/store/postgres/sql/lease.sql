-- lease.sql: keeps leases and takes those that lapsed.
-- in: see each function    out: functions
-- why: `state + 0` where a job is looked for by its id or number: else a plan may walk a partial index instead
-- guarantee: who locks a job (a handler that completes in a transaction of its own) is not waited for and counts as holding

-- Renews the leases of these jobs, which their holder named. Others under the same lease keep its old end.
-- why: those who were not named are moved to a lease of their own, and not the named: those are the ones that run, and
-- may be locked. With all named, as it mostly is, one row is written.
CREATE FUNCTION windlass.renew(p_server uuid, p_until bigint, p_seqs bigint[]) RETURNS void LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_leases bigint[];
    v_strays bigint[];
    v_stray record;
BEGIN
    SELECT array_agg(DISTINCT j.lease ORDER BY j.lease) INTO v_leases
    FROM unnest(p_seqs) AS u (seq) JOIN windlass.job AS j ON j.seq = u.seq AND j.state + 0 = 4;
    IF v_leases IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(j.seq) INTO v_strays FROM (SELECT j.seq FROM windlass.job AS j
        WHERE j.state = 4 AND j.lease = ANY (v_leases)
            AND NOT EXISTS (SELECT 1 FROM unnest(p_seqs) AS u (seq) WHERE u.seq = j.seq)
        FOR UPDATE SKIP LOCKED) AS j;
    IF v_strays IS NOT NULL THEN
        FOR v_stray IN
            SELECT l.id, l.server, l.until_mono, nextval('windlass.fence') AS other, s.seqs
            FROM (SELECT j.lease, array_agg(j.seq) AS seqs FROM windlass.job AS j WHERE j.seq = ANY (v_strays)
                GROUP BY j.lease) AS s
            JOIN windlass.lease AS l ON l.id = s.lease
        LOOP
            INSERT INTO windlass.lease (id, server, until_mono)
            VALUES (v_stray.other, v_stray.server, v_stray.until_mono);
            UPDATE windlass.job AS j SET lease = v_stray.other WHERE j.seq = ANY (v_stray.seqs) AND j.state = 4;
        END LOOP;
    END IF;
    INSERT INTO windlass.lease AS l (id, server, until_mono)
    SELECT u.id, p_server, p_until FROM unnest(v_leases) AS u (id) ORDER BY u.id
    ON CONFLICT (id) DO UPDATE SET until_mono = excluded.until_mono;
END $$;

-- in: the clocks as tick() takes them, who holds, the lease, whether it ran late, and the leases
-- out: first a row without n: the wall clock; then the places of those that are lost
CREATE FUNCTION windlass.extend_leases(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_server uuid,
    p_lease bigint, p_late boolean, p_ids text[], p_fences bigint[])
RETURNS TABLE (wall bigint, n integer) LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_tick record;
    v_seqs bigint[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    v_tick := windlass.tick(p_wall, p_start, p_told, p_elapsed, p_lease, p_late);
    wall := v_tick.wall;
    RETURN NEXT;
    IF cardinality(p_ids) = 0 THEN
        RETURN;
    END IF;
    SELECT array_agg(j.seq) INTO v_seqs FROM unnest(p_ids, p_fences) AS u (id, fence)
    JOIN windlass.job AS j ON j.id = u.id AND j.state + 0 = 4 AND j.fence = u.fence;
    PERFORM windlass.renew(p_server, v_tick.mono + p_lease, v_seqs);
    -- Looked at anew: whoever took some meanwhile has ended by now.
    RETURN QUERY SELECT NULL::bigint, u.n::integer FROM unnest(p_ids, p_fences) WITH ORDINALITY AS u (id, fence, n)
    WHERE NOT EXISTS (SELECT 1 FROM windlass.job AS j WHERE j.id = u.id AND j.state + 0 = 4 AND j.fence = u.fence);
END $$;

-- Takes lapsed leases: crashes + 1, back to the front of the line, or dead. Adds up the ledger on the way.
-- in: the clocks, and the rules
-- out: first a row without id: the wall clock and whether there are more; then the jobs, the last that was claimed first
-- why: the last one to go to the front stands first, so they keep their order
CREATE FUNCTION windlass.rescue_jobs(p_wall bigint, p_start text, p_told bigint, p_elapsed bigint, p_lease bigint,
    p_late boolean, p_limit integer, p_poison integer, p_keep bigint)
RETURNS TABLE (wall bigint, more boolean, id text, kind text, queue text, fence bigint, attempt integer, state smallint)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_tick record;
    v_leases bigint[];
    v_seqs bigint[];
    v_job windlass.job;
    v_events windlass.event[];
    v_freed text[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM windlass.fold(5000);
    v_tick := windlass.tick(p_wall, p_start, p_told, p_elapsed, p_lease, p_late);
    wall := v_tick.wall;
    more := false;
    IF v_tick.may_rescue THEN
        SELECT array_agg(l.id) INTO v_leases FROM (SELECT l.id FROM windlass.lease AS l
            WHERE l.until_mono <= v_tick.mono ORDER BY l.id LIMIT 1000 FOR UPDATE SKIP LOCKED) AS l;
    END IF;
    IF v_leases IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT array_agg(j.seq ORDER BY j.fence, j.priority DESC, j.ord) INTO v_seqs FROM (
        SELECT j.seq, j.fence, j.priority, j.ord FROM windlass.job AS j WHERE j.state = 4 AND j.lease = ANY (v_leases)
        ORDER BY j.fence, j.priority DESC, j.ord LIMIT p_limit + 1 FOR UPDATE SKIP LOCKED) AS j;
    more := coalesce(cardinality(v_seqs), 0) > p_limit OR cardinality(v_leases) = 1000;
    RETURN NEXT;
    v_seqs := v_seqs[1:p_limit];
    FOR i IN REVERSE coalesce(cardinality(v_seqs), 0)..1 LOOP
        SELECT * INTO STRICT v_job FROM windlass.job AS j WHERE j.seq = v_seqs[i];
        SELECT l.queue, l.kind INTO queue, kind FROM windlass.line AS l WHERE l.id = v_job.line;
        id := v_job.id; fence := v_job.fence; attempt := v_job.attempt;
        v_job.crashes := v_job.crashes + 1;
        v_job.errors := windlass.with_error(v_job.errors, wall, v_job.attempt, 'crash',
            format('the process that ran it vanished (server %s)', v_job.server));
        IF v_job.cancel IS NOT NULL OR v_job.crashes >= p_poison THEN
            state := CASE WHEN v_job.cancel IS NOT NULL THEN 8 ELSE 7 END;
            v_events := array_append(v_events,
                windlass.settle(v_job, state, coalesce(v_job.cancel, 'poison'), wall, p_keep, NULL, NULL));
            IF v_job.exclusive IS NOT NULL THEN
                v_freed := array_append(v_freed, v_job.exclusive);
            END IF;
        ELSE
            state := 0;
            UPDATE windlass.job AS j SET state = 0, ord = -nextval('windlass.front'), pending_at = wall,
                updated_at = wall, run_at = NULL, lease = NULL, crashes = v_job.crashes, errors = v_job.errors,
                suspect = v_job.crashes + 1 >= p_poison
            WHERE j.seq = v_job.seq;
            v_events := array_append(v_events,
                ROW(v_job.line, v_job.tenant, 4, 0, NULL, NULL, NULL, NULL)::windlass.event);
        END IF;
        RETURN NEXT;
    END LOOP;
    IF v_events IS NOT NULL THEN
        PERFORM windlass.book(wall, v_events);
    END IF;
    DELETE FROM windlass.lease AS l WHERE l.id = ANY (v_leases)
        AND NOT EXISTS (SELECT 1 FROM windlass.job AS j WHERE j.state = 4 AND j.lease = l.id);
    IF v_freed IS NOT NULL THEN
        PERFORM windlass.let_in(wall, v_freed, NULL, false);
    END IF;
END $$;
