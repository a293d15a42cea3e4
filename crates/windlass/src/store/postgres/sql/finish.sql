-- finish.sql: applies reports of runs, each fenced: only the newest holder of a job may say how its run ended.
-- in: see finish_jobs    out: see finish_jobs
-- why: runs that completed and have nothing more to say are one statement; the others go job by job

-- Locks these runs in the order of their ids, as everybody does who touches several: so nobody waits in a circle.
CREATE FUNCTION windlass.lock_runs(p_ids text[], p_fences bigint[]) RETURNS void LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM 1 FROM unnest(p_ids, p_fences) AS u (id, fence)
    JOIN windlass.job AS j ON j.id = u.id AND j.state + 0 = 4 AND j.fence = u.fence ORDER BY j.id FOR UPDATE OF j;
END $$;

-- The parts of a document [[place, ..], ..] in the order of their places, those of one place as they stand.
-- why: read once for a whole batch and walked along with it; to look for each report's own part costs as much each time
CREATE FUNCTION windlass.by_place(p_document text) RETURNS jsonb[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY(SELECT w.part FROM jsonb_array_elements(p_document::jsonb) WITH ORDINALITY AS w (part, n)
        ORDER BY (w.part->>0)::integer, w.n)
$$;

-- What a run says while it goes on: each number of a run once, and none that comes after a later one.
-- in: the job, its fence and attempt; number, fraction, message, checkpoint; the lines as [[at, text], ..]
CREATE FUNCTION windlass.take_news(p_seq bigint, p_fence bigint, p_attempt integer, p_number bigint,
    p_fraction double precision, p_message text, p_checkpoint bytea, p_lines jsonb) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_last bigint;
BEGIN
    INSERT INTO windlass.report AS r (seq, fence, number, fraction, message)
    VALUES (p_seq, p_fence, p_number, p_fraction, p_message)
    ON CONFLICT (seq) DO UPDATE SET fence = excluded.fence, number = excluded.number,
        fraction = coalesce(excluded.fraction, r.fraction),
        message = CASE WHEN excluded.fraction IS NULL THEN r.message ELSE excluded.message END
        WHERE (r.fence, r.number) < (excluded.fence, excluded.number);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_checkpoint IS NOT NULL THEN
        INSERT INTO windlass.checkpoint (seq, value) VALUES (p_seq, p_checkpoint)
        ON CONFLICT (seq) DO UPDATE SET value = excluded.value;
    END IF;
    IF jsonb_array_length(p_lines) > 0 THEN
        SELECT coalesce(max(number), 0) INTO v_last FROM windlass.log WHERE seq = p_seq;
        INSERT INTO windlass.log (seq, number, at, attempt, line)
        SELECT p_seq, v_last + l.n, (l.line->>0)::bigint, p_attempt, l.line->>1
        FROM jsonb_array_elements(p_lines) WITH ORDINALITY AS l (line, n);
        DELETE FROM windlass.log WHERE seq = p_seq AND number <= v_last + jsonb_array_length(p_lines) - 100;
    END IF;
END $$;

-- in: arrays with an element for each report: verdicts: 0 complete, 1 retry, 2 snooze, 3 release, 4 bury, 5 cancel;
--   waits; reasons; the error's class and message; results; how long it ran; alone: whether it has more to say, or
--   anything follows from a report of this batch.
--   p_news: [[place, number, fraction, message, checkpoint in base64, lines], ..]; p_then: [[place, job], ..] as JSON or null;
--   p_relaxed: queues whose jobs may end without waiting for the disk; p_theirs: as let_in() takes it
-- out: the place of each report that was accepted, and the job's state
CREATE FUNCTION windlass.finish_jobs(p_wall bigint, p_keep bigint, p_ids text[], p_fences bigint[], p_verdicts smallint[],
    p_waits bigint[], p_reasons text[], p_classes text[], p_messages text[], p_results bytea[], p_rans bigint[],
    p_alone boolean[], p_news text, p_then text, p_relaxed text[] DEFAULT '{}', p_theirs boolean DEFAULT false)
RETURNS TABLE (n integer, state smallint) LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_done integer[];
    v_events windlass.event[];
    v_sides bigint[];
    v_kept boolean;
    v_job windlass.job;
    v_news jsonb[] := windlass.by_place(p_news);
    v_said jsonb;
    v_next integer := 1;
    v_verdict integer;
    v_reason text;
    v_waited bigint;
    v_then jsonb[] := windlass.by_place(p_then);
    v_then_next integer := 1;
    v_jobs jsonb[];
    v_ids text[];
    v_freed text[];
    v_ns integer[];
    v_places bigint[];
    v_entered text[];
    v_entered_at bigint[];
BEGIN
    IF true = ANY (p_alone) OR 0 <> ANY (p_verdicts) THEN
        PERFORM windlass.lock_runs(p_ids, p_fences);
    END IF;
    WITH gone AS (
        DELETE FROM windlass.job AS j
        USING (SELECT * FROM unnest(p_ids, p_fences, p_verdicts, p_results, p_rans, p_alone) WITH ORDINALITY
            AS o (id, fence, verdict, result, ran, alone, n) WHERE verdict = 0 AND NOT alone ORDER BY id) AS u
        WHERE j.id = u.id AND j.state + 0 = 4 AND j.fence = u.fence
        RETURNING j, u.n, u.result, u.ran
    ), kept AS (
        INSERT INTO windlass.history
        SELECT (g.j).seq, (g.j).ord, (g.j).created_at, v_now, (g.j).pending_at, NULL, (g.j).started_at, v_now,
            windlass.later(v_now, (g.j).retention_us), (g.j).deadline, (g.j).timeout_us, (g.j).retention_us,
            (g.j).unique_ttl_us, (g.j).max_retry, (g.j).fence, NULL, (g.j).line, (g.j).attempt, (g.j).failures,
            (g.j).crashes, (g.j).snoozes, windlass.part(v_now, windlass.later(v_now, (g.j).retention_us)), 6, (g.j).priority, (g.j).suspect, (g.j).side, (g.j).server, (g.j).id,
            (g.j).tenant, (g.j).member_of, (g.j).exclusive, (g.j).flushed_into, (g.j).unique_key, (g.j).tags, (g.j).headers, NULL, NULL,
            (g.j).errors, (g.j).payload, coalesce(g.result, (g.j).result)
        FROM gone AS g WHERE (g.j).retention_us > 0
    ), names AS (
        INSERT INTO windlass.kept (id, seq, day)
        SELECT (g.j).id, (g.j).seq, windlass.part(v_now, windlass.later(v_now, (g.j).retention_us))
        FROM gone AS g WHERE (g.j).retention_us > 0 AND windlass.named((g.j).id) ORDER BY 1
        ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, day = excluded.day
    )
    SELECT array_agg(g.n::integer),
        array_agg((g.j).seq) FILTER (WHERE (g.j).side AND (g.j).retention_us = 0),
        array_agg(ROW((g.j).line, (g.j).tenant, 4, CASE WHEN (g.j).retention_us > 0 THEN 6 END, 6,
            greatest((g.j).started_at - coalesce((g.j).pending_at, (g.j).started_at), 0), g.ran,
            greatest(v_now - (g.j).created_at, 0))::windlass.event),
        array_agg((g.j).exclusive) FILTER (WHERE (g.j).exclusive IS NOT NULL),
        array_agg(g.n::integer) FILTER (WHERE (g.j).exclusive IS NOT NULL)
    INTO v_done, v_sides, v_events, v_freed, v_ns FROM gone AS g;
    IF v_freed IS NOT NULL THEN
        -- Whoever is next stands in line in the order of these reports.
        SELECT array_agg(f.key), array_agg(nextval('windlass.place')) INTO v_freed, v_places
        FROM (SELECT u.key FROM unnest(v_freed, v_ns) AS u (key, n) ORDER BY u.n) AS f;
    END IF;
    IF v_sides IS NOT NULL THEN
        PERFORM windlass.remove_side(v_sides);
    END IF;
    RETURN QUERY SELECT u.n, 6::smallint FROM unnest(v_done) AS u (n);

    FOR i IN 1..cardinality(p_ids) LOOP
        CONTINUE WHEN p_verdicts[i] = 0 AND NOT p_alone[i];
        SELECT * INTO v_job FROM windlass.job AS j
        WHERE j.id = p_ids[i] AND j.state + 0 = 4 AND j.fence = p_fences[i] FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        WHILE (v_news[v_next]->>0)::integer <= i LOOP
            v_said := v_news[v_next];
            v_next := v_next + 1;
            CONTINUE WHEN (v_said->>0)::integer < i;
            v_job.side := true;
            PERFORM windlass.take_news(v_job.seq, v_job.fence, v_job.attempt, (v_said->>1)::bigint,
                (v_said->>2)::double precision, v_said->>3, decode(v_said->>4, 'base64'), v_said->5);
        END LOOP;
        IF p_classes[i] IS NOT NULL THEN
            v_job.errors := windlass.with_error(v_job.errors, v_now, v_job.attempt, p_classes[i], p_messages[i]);
        END IF;
        v_verdict := p_verdicts[i];
        v_reason := p_reasons[i];
        IF v_verdict IN (1, 2, 3) AND v_job.cancel IS NOT NULL THEN
            v_verdict := 5;
            v_reason := v_job.cancel;
        END IF;
        v_waited := greatest(v_job.started_at - coalesce(v_job.pending_at, v_job.started_at), 0);
        v_job.result := coalesce(p_results[i], v_job.result);
        v_job.failures := v_job.failures + (v_verdict = 1 OR (v_verdict = 4 AND v_reason = 'exhausted'))::integer;
        v_job.snoozes := v_job.snoozes + (v_verdict = 2)::integer;
        IF v_verdict IN (0, 4, 5) THEN
            state := CASE v_verdict WHEN 0 THEN 6 WHEN 4 THEN 7 ELSE 8 END;
            v_events := array_append(v_events, windlass.settle(v_job, state, v_reason, v_now,
                CASE v_verdict WHEN 0 THEN v_job.retention_us ELSE p_keep END, v_waited, p_rans[i]));
        ELSE
            state := CASE v_verdict WHEN 1 THEN 5 WHEN 2 THEN 1 ELSE 0 END;
            UPDATE windlass.job AS j SET state = CASE v_verdict WHEN 1 THEN 5 WHEN 2 THEN 1 ELSE 0 END, lease = NULL,
                updated_at = v_now, failures = v_job.failures, snoozes = v_job.snoozes, errors = v_job.errors,
                result = v_job.result, side = v_job.side,
                run_at = CASE WHEN v_verdict < 3 THEN windlass.later(v_now, p_waits[i]) END,
                ord = CASE WHEN v_verdict = 3 THEN -nextval('windlass.front') ELSE j.ord END,
                pending_at = CASE WHEN v_verdict = 3 THEN v_now ELSE j.pending_at END
            WHERE j.seq = v_job.seq;
            v_events := array_append(v_events, ROW(v_job.line, v_job.tenant, 4, state,
                CASE WHEN v_verdict = 1 THEN 5 END, v_waited, CASE WHEN v_verdict = 1 THEN p_rans[i] END,
                0)::windlass.event);
        END IF;
        IF v_job.exclusive IS NOT NULL AND v_verdict <> 3 THEN
            v_freed := array_append(v_freed, v_job.exclusive);
            v_places := array_append(v_places, nextval('windlass.place'));
        END IF;
        n := i;
        RETURN NEXT;
        -- Between this report and the next: what follows may need a key that this one freed, or find one that the next one
        -- holds.
        v_jobs := '{}';
        v_ids := '{}';
        WHILE (v_then[v_then_next]->>0)::integer <= i LOOP
            IF (v_then[v_then_next]->>0)::integer = i THEN
                v_jobs := array_append(v_jobs, v_then[v_then_next]->1);
                IF v_then[v_then_next]->1->>'exclusive' IS NOT NULL THEN
                    v_ids := array_append(v_ids, v_then[v_then_next]->1->>'id');
                END IF;
            END IF;
            v_then_next := v_then_next + 1;
        END LOOP;
        IF cardinality(v_jobs) > 0 THEN
            PERFORM windlass.enqueue_json(v_now, to_jsonb(v_jobs)::text);
        END IF;
        IF cardinality(v_ids) > 0 THEN
            SELECT v_entered || e.keys, v_entered_at || e.places INTO v_entered, v_entered_at
            FROM windlass.entered(v_ids) AS e;
        END IF;
    END LOOP;
    IF v_events IS NOT NULL THEN
        PERFORM windlass.book(v_now, v_events);
    END IF;
    IF cardinality(p_relaxed) > 0 AND p_then IS NULL AND NOT EXISTS (SELECT 1 FROM unnest(v_events) AS e
        JOIN windlass.line AS l ON l.id = e.line WHERE l.queue <> ALL (p_relaxed)) THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    IF v_freed IS NOT NULL OR v_entered IS NOT NULL THEN
        -- Those that somebody left first: what followed comes after those who waited.
        PERFORM windlass.let_in(v_now, v_freed || v_entered, v_places || v_entered_at, p_theirs);
    END IF;
END $$;

-- Notes what runs say while they go on, each fenced by its lease.
-- in: the leases; p_news as finish_jobs takes them; whether it must be durable    out: the places of those that hold
CREATE FUNCTION windlass.report_jobs(p_ids text[], p_fences bigint[], p_news text, p_durable boolean)
RETURNS TABLE (n integer) LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_job windlass.job;
    v_news record;
BEGIN
    IF NOT p_durable THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    PERFORM windlass.lock_runs(p_ids, p_fences);
    FOR v_news IN SELECT (w.news->>0)::integer AS place, w.news
        FROM jsonb_array_elements(p_news::jsonb) WITH ORDINALITY AS w (news, n) ORDER BY w.n
    LOOP
        SELECT * INTO v_job FROM windlass.job AS j
        WHERE j.id = p_ids[v_news.place] AND j.state + 0 = 4 AND j.fence = p_fences[v_news.place] FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        PERFORM windlass.take_news(v_job.seq, v_job.fence, v_job.attempt, (v_news.news->>1)::bigint,
            (v_news.news->>2)::double precision, v_news.news->>3, decode(v_news.news->>4, 'base64'), v_news.news->5);
        IF NOT v_job.side THEN
            UPDATE windlass.job AS j SET side = true WHERE j.seq = v_job.seq;
        END IF;
        n := v_news.place;
        RETURN NEXT;
    END LOOP;
END $$;
