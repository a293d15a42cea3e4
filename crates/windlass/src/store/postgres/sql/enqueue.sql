-- enqueue.sql: makes jobs durable, in the order in which they are given.
-- in: arrays with an element for each job. starts: 0 now, 1 at a moment, 2 after a while; start_us: which.
--   tags: joined by the byte 1F. fresh: the id was made for this very call. p_exclusives: null, or the keys as
--   job.exclusive has them. p_wall: of a test    out: n, id and state of each job that is not new, by its place
-- guarantee: all or none; an id or a live key is taken once, whoever asks at the same time
-- why: plain jobs are one statement, or, where they are few, a short one each, which costs less than arrays do. A key is
--   looked at job by job, since an earlier one of the same call may take it.

-- The lines of queues and kinds, by their place; null where there is none.
CREATE FUNCTION windlass.find_lines(p_queues text[], p_kinds text[]) RETURNS integer[] LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off AS $$
BEGIN
    RETURN ARRAY(SELECT (SELECT l.id FROM windlass.line AS l WHERE l.queue = u.queue AND l.kind = u.kind
            ORDER BY l.queue, l.kind, l.copy LIMIT 1)
        FROM unnest(p_queues, p_kinds) WITH ORDINALITY AS u (queue, kind, n) ORDER BY u.n);
END $$;

-- Makes those lines that are missing, and waits for nobody.
-- why: the first job of a kind may be in a transaction that lasts, and holds the row of its line as long. Whoever cannot
--   be the one that makes that row makes another one of the same queue and kind, under a number of its own: to all who
--   read, what stands in either belongs to the queue and the kind.
CREATE FUNCTION windlass.make_lines(p_queues text[], p_kinds text[]) RETURNS void LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO windlass.line (queue, kind, copy)
    SELECT d.queue, d.kind, CASE WHEN pg_try_advisory_xact_lock(hashtextextended(d.queue || E'\x1f' || d.kind,
        'windlass.line'::regclass::oid::bigint)) THEN 0 ELSE pg_current_xact_id()::text::bigint END
    FROM (SELECT DISTINCT u.queue, u.kind FROM unnest(p_queues, p_kinds) AS u (queue, kind)
        WHERE NOT EXISTS (SELECT 1 FROM windlass.line AS l WHERE l.queue = u.queue AND l.kind = u.kind)
        ORDER BY u.queue, u.kind) AS d
    ON CONFLICT DO NOTHING;
END $$;

-- One job with a fresh id. Null: its line is missing.    out: whether it is new
CREATE FUNCTION windlass.enqueue_one(p_now bigint, p_place bigint, p_id text, p_queue text, p_kind text, p_payload bytea,
    p_tags text, p_headers text, p_tenant text, p_priority smallint, p_retry bigint, p_timeout bigint, p_retention bigint,
    p_start smallint, p_start_us bigint, p_deadline bigint, p_key bytea, p_ttl bigint, p_group text,
    p_exclusive text)
RETURNS boolean LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_due bigint := CASE p_start WHEN 0 THEN p_now WHEN 1 THEN p_start_us ELSE windlass.later(p_now, p_start_us) END;
    v_state smallint := CASE WHEN v_due > p_now THEN 1 WHEN p_group IS NOT NULL THEN 3
        WHEN p_exclusive IS NOT NULL THEN 2 ELSE 0 END;
    v_place bigint := p_place;
    v_line integer;
BEGIN
    SELECT l.id INTO v_line FROM windlass.line AS l WHERE l.queue = p_queue AND l.kind = p_kind
    ORDER BY l.queue, l.kind, l.copy LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF v_place IS NULL THEN
        v_place := nextval('windlass.place');
    END IF;
    INSERT INTO windlass.job (seq, ord, created_at, updated_at, pending_at, run_at, deadline, timeout_us, retention_us,
        unique_ttl_us, max_retry, line, state, priority, id, tenant, member_of, exclusive, unique_key, tags, headers, payload)
    VALUES (v_place, v_place, p_now, p_now, CASE WHEN v_state <> 1 THEN p_now END, CASE WHEN v_state = 1 THEN v_due END,
        p_deadline, p_timeout, p_retention, p_ttl, p_retry, v_line, v_state, p_priority, p_id, p_tenant, p_group,
        p_exclusive, p_key, string_to_array(p_tags, E'\x1f'), p_headers, p_payload)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- What book() would write.
    INSERT INTO windlass.ledger VALUES (v_line, p_tenant, p_now / 60000000, 1, 0, (v_state = 0)::integer,
        (v_state = 1)::integer, (v_state = 2)::integer, (v_state = 3)::integer, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL);
    RETURN true;
END $$;

-- Whether jobs are so few that a statement for each costs less than one for all: with fresh ids, in the order of these, so
-- that two who bring in the same ones do not wait for each other.
CREATE FUNCTION windlass.are_few(p_ids text[], p_fresh boolean[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF cardinality(p_ids) > 8 THEN
        RETURN false;
    END IF;
    FOR i IN 1 .. cardinality(p_ids) LOOP
        IF NOT p_fresh[i] OR (i > 1 AND p_ids[i] COLLATE "C" <= p_ids[i - 1] COLLATE "C") THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;

-- Jobs without a key of their own, or whose key was looked at. p_places: their places in line; none: at its end.
-- why: whoever ends a job moves it to history in one step, so an id that was free here is looked for there once the
-- index has let it in; the other way round one could slip through. A fresh id is not looked for (kept.sql).
CREATE FUNCTION windlass.enqueue_plain(p_now bigint, p_ids text[], p_queues text[], p_kinds text[], p_payloads bytea[],
    p_tags text[], p_headers text[], p_tenants text[], p_priorities smallint[], p_retries bigint[], p_timeouts bigint[],
    p_retentions bigint[], p_starts smallint[], p_start_us bigint[], p_deadlines bigint[], p_keys bytea[],
    p_ttls bigint[], p_groups text[], p_fresh boolean[], p_exclusives text[], p_places bigint[])
RETURNS TABLE (n integer, id text, state smallint) LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_known text[];
    v_queues text[];
    v_kinds text[];
    v_lines integer[];
    v_added text[];
    v_gone text[];
    v_events windlass.event[];
    v_new boolean;
BEGIN
    IF windlass.are_few(p_ids, p_fresh) THEN
        FOR i IN 1 .. cardinality(p_ids) LOOP
            LOOP
                v_new := windlass.enqueue_one(p_now, p_places[i], p_ids[i], p_queues[i], p_kinds[i], p_payloads[i],
                    p_tags[i], p_headers[i], p_tenants[i], p_priorities[i], p_retries[i], p_timeouts[i], p_retentions[i],
                    p_starts[i], p_start_us[i], p_deadlines[i], p_keys[i], p_ttls[i], p_groups[i], p_exclusives[i]);
                EXIT WHEN v_new;
                SELECT j.state INTO state FROM windlass.job AS j WHERE j.id = p_ids[i];
                IF FOUND OR NOT v_new THEN
                    n := i; id := p_ids[i];
                    RETURN NEXT;
                    EXIT;
                END IF;
                PERFORM windlass.make_lines(p_queues[i:i], p_kinds[i:i]);
            END LOOP;
        END LOOP;
        RETURN;
    END IF;
    v_known := ARRAY(SELECT u.id FROM unnest(p_ids, p_fresh) AS u (id, fresh) WHERE NOT u.fresh);
    SELECT array_agg(d.queue), array_agg(d.kind) INTO v_queues, v_kinds
    FROM (SELECT DISTINCT u.queue, u.kind FROM unnest(p_queues, p_kinds) AS u (queue, kind)) AS d;
    v_lines := windlass.find_lines(v_queues, v_kinds);
    IF array_position(v_lines, NULL) IS NOT NULL THEN
        -- A job whose id is taken, by one of the same call too, makes no queue.
        PERFORM windlass.make_lines(array_agg(u.queue), array_agg(u.kind))
        FROM (SELECT DISTINCT ON (id) id, queue, kind FROM unnest(p_ids, p_queues, p_kinds) WITH ORDINALITY
            AS o (id, queue, kind, n) ORDER BY id, n) AS u
        WHERE NOT EXISTS (SELECT 1 FROM windlass.job AS j WHERE j.id = u.id)
            AND u.id NOT IN (SELECT e.id FROM windlass.ended(v_known) AS e);
        v_lines := windlass.find_lines(v_queues, v_kinds);
    END IF;
    WITH input AS (
        SELECT u.*, line.id AS line, CASE u.start WHEN 0 THEN p_now WHEN 1 THEN u.start_us
            ELSE windlass.later(p_now, u.start_us) END AS due
        FROM unnest(p_ids, p_queues, p_kinds, p_payloads, p_tags, p_headers, p_tenants, p_priorities, p_retries,
            p_timeouts, p_retentions, p_starts, p_start_us, p_deadlines, p_keys, p_ttls, p_groups, p_exclusives)
            WITH ORDINALITY AS u (id, queue, kind, payload, tags, headers, tenant, priority, max_retry, timeout_us, retention_us, start,
            start_us, deadline, key, ttl, member_of, exclusive, n)
        JOIN unnest(v_queues, v_kinds, v_lines) AS line (queue, kind, id)
            ON line.queue = u.queue AND line.kind = u.kind AND line.id IS NOT NULL
    ), placed AS (
        SELECT coalesce(p_places[i.n::integer], nextval('windlass.place')) AS place, i.* FROM (SELECT * FROM input ORDER BY n) AS i
    ), added AS (
        INSERT INTO windlass.job (seq, ord, created_at, updated_at, pending_at, run_at, deadline, timeout_us,
            retention_us, unique_ttl_us, max_retry, line, state, priority, id, tenant, member_of, exclusive,
            unique_key, tags, headers, payload)
        SELECT place, place, p_now, p_now, CASE WHEN due > p_now THEN NULL ELSE p_now END,
            CASE WHEN due > p_now THEN due END, deadline, timeout_us, retention_us, ttl, max_retry, line,
            CASE WHEN due > p_now THEN 1 WHEN member_of IS NOT NULL THEN 3 WHEN exclusive IS NOT NULL THEN 2 ELSE 0 END,
            priority, id, tenant, member_of, exclusive, key, string_to_array(tags, E'\x1f'), headers, payload
        -- In one order, so that two who bring in the same ids do not wait for each other.
        FROM placed ORDER BY id, n ON CONFLICT DO NOTHING
        RETURNING id, line, tenant, state
    )
    SELECT array_agg(a.id),
        array_agg(ROW(a.line, a.tenant, NULL, a.state, NULL, NULL, NULL, NULL)::windlass.event)
    INTO v_added, v_events FROM added AS a;
    IF cardinality(v_known) > 0 THEN
        SELECT array_agg(e.id) INTO v_gone FROM windlass.ended(v_known) AS e WHERE e.id = ANY (v_added);
    END IF;
    IF v_gone IS NOT NULL THEN
        DELETE FROM windlass.job AS j WHERE j.id = ANY (v_gone);
        SELECT array_agg(a.id), array_agg(e.event) INTO v_added, v_events
        FROM unnest(v_added, v_events) AS a (id, line, tenant, was, went, ended, waited, ran, lived),
            LATERAL (SELECT ROW(a.line, a.tenant, a.was, a.went, a.ended, a.waited, a.ran, a.lived)::windlass.event AS event)
            AS e
        WHERE a.id <> ALL (v_gone);
    END IF;
    IF v_added IS NOT NULL THEN
        PERFORM windlass.book(p_now, v_events);
    END IF;
    IF coalesce(cardinality(v_added), 0) < cardinality(p_ids) THEN
        RETURN QUERY
        SELECT u.n::integer, u.id, coalesce((SELECT j.state FROM windlass.job AS j WHERE j.id = u.id),
            (SELECT e.state FROM windlass.ended(ARRAY[u.id]) AS e))
        FROM (SELECT i.id, i.n, row_number() OVER (PARTITION BY i.id ORDER BY i.n) AS nth
            FROM unnest(p_ids) WITH ORDINALITY AS i (id, n)) AS u
        WHERE u.nth > 1 OR v_added IS NULL OR u.id <> ALL (v_added);
    END IF;
END $$;

-- The job that holds a key, if one does; p_own: the id of the job that asks.
CREATE FUNCTION windlass.key_holder(p_now bigint, p_key bytea, p_ttl bigint, OUT id text, OUT state smallint)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    IF p_ttl IS NULL THEN
        SELECT j.id, j.state INTO id, state FROM windlass.job AS j
        WHERE j.unique_key = p_key AND j.unique_key IS NOT NULL AND j.unique_ttl_us IS NULL;
    ELSE
        SELECT k.id, coalesce((SELECT j.state FROM windlass.job AS j WHERE j.id = k.id),
            (SELECT e.state FROM windlass.ended(ARRAY[k.id]) AS e))
        INTO id, state FROM windlass.key AS k WHERE k.key = p_key AND k.expires_at > p_now;
    END IF;
END $$;

-- Those with an exclusive key that are ready are blocked: whoever calls this lets them in (exclusive.sql).
CREATE FUNCTION windlass.enqueue_jobs(p_wall bigint, p_ids text[], p_queues text[], p_kinds text[], p_payloads bytea[],
    p_tags text[], p_headers text[], p_tenants text[], p_priorities smallint[], p_retries bigint[], p_timeouts bigint[],
    p_retentions bigint[], p_starts smallint[], p_start_us bigint[], p_deadlines bigint[], p_keys bytea[],
    p_ttls bigint[], p_groups text[], p_fresh boolean[], p_exclusives text[] DEFAULT NULL)
RETURNS TABLE (n integer, id text, state smallint) LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_holder record;
    v_taken record;
    v_places bigint[];
    v_once boolean;
    i integer;
BEGIN
    -- No job has a key.
    IF array_remove(p_keys, NULL) = '{}' THEN
        RETURN QUERY SELECT * FROM windlass.enqueue_plain(v_now, p_ids, p_queues, p_kinds, p_payloads, p_tags, p_headers,
            p_tenants, p_priorities, p_retries, p_timeouts, p_retentions, p_starts, p_start_us, p_deadlines, p_keys,
            p_ttls, p_groups, p_fresh, p_exclusives, NULL);
        RETURN;
    END IF;
    -- One order of keys for all, so that two who bring in the same ones do not wait for each other; places as given. Of an id
    -- that is named twice the first one counts, so there they stay in their order.
    v_once := (SELECT count(DISTINCT u.id) = count(*) FROM unnest(p_ids) AS u (id));
    v_places := ARRAY(SELECT nextval('windlass.place') FROM generate_series(1, cardinality(p_ids)));
    FOR i IN SELECT o.n FROM unnest(p_keys, p_ids) WITH ORDINALITY AS o (key, id, n)
        ORDER BY CASE WHEN v_once THEN o.key END NULLS FIRST, CASE WHEN v_once AND o.key IS NULL THEN o.id END, o.n
    LOOP
        LOOP
            -- The id first: a job that is there is the answer, whoever holds the key.
            SELECT j.state INTO v_taken FROM windlass.job AS j WHERE j.id = p_ids[i];
            IF NOT FOUND AND NOT p_fresh[i] THEN
                SELECT e.state INTO v_taken FROM windlass.ended(p_ids[i:i]) AS e;
            END IF;
            IF FOUND THEN
                n := i; id := p_ids[i]; state := v_taken.state;
                RETURN NEXT;
                EXIT;
            END IF;
            IF p_keys[i] IS NOT NULL THEN
                v_holder := windlass.key_holder(v_now, p_keys[i], p_ttls[i]);
                IF v_holder.id IS NOT NULL THEN
                    n := i; id := v_holder.id; state := v_holder.state;
                    RETURN NEXT;
                    EXIT;
                END IF;
            END IF;
            PERFORM 1 FROM windlass.enqueue_plain(v_now, p_ids[i:i], p_queues[i:i], p_kinds[i:i], p_payloads[i:i],
                p_tags[i:i], p_headers[i:i], p_tenants[i:i], p_priorities[i:i], p_retries[i:i], p_timeouts[i:i],
                p_retentions[i:i], p_starts[i:i], p_start_us[i:i], p_deadlines[i:i], p_keys[i:i], p_ttls[i:i],
                p_groups[i:i], p_fresh[i:i], p_exclusives[i:i], v_places[i:i]);
            -- A row: somebody was faster. Look again who.
            CONTINUE WHEN FOUND;
            EXIT WHEN p_keys[i] IS NULL OR p_ttls[i] IS NULL;
            INSERT INTO windlass.key AS k (key, id, expires_at)
            VALUES (p_keys[i], p_ids[i], windlass.later(v_now, p_ttls[i]))
            ON CONFLICT (key) DO UPDATE SET id = excluded.id, expires_at = excluded.expires_at
                WHERE k.expires_at <= v_now;
            EXIT WHEN FOUND;
            -- Somebody took the key meanwhile, so this job is none; it and its numbers go again.
            PERFORM windlass.take_back(v_now, p_ids[i]);
        END LOOP;
    END LOOP;
END $$;

-- The same for jobs among which some have an exclusive key, and lets them in; p_theirs: as let_in() takes it
CREATE FUNCTION windlass.enqueue_exclusive(p_wall bigint, p_ids text[], p_queues text[], p_kinds text[],
    p_payloads bytea[], p_tags text[], p_headers text[], p_tenants text[], p_priorities smallint[], p_retries bigint[],
    p_timeouts bigint[], p_retentions bigint[], p_starts smallint[], p_start_us bigint[], p_deadlines bigint[],
    p_keys bytea[], p_ttls bigint[], p_groups text[], p_fresh boolean[], p_exclusives text[], p_theirs boolean)
RETURNS TABLE (n integer, id text, state smallint) LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_known record;
BEGIN
    SELECT array_agg(e.n) AS ns, array_agg(e.id) AS ids, array_agg(e.state) AS states INTO v_known
    FROM windlass.enqueue_jobs(v_now, p_ids, p_queues, p_kinds, p_payloads, p_tags, p_headers, p_tenants, p_priorities,
        p_retries, p_timeouts, p_retentions, p_starts, p_start_us, p_deadlines, p_keys, p_ttls, p_groups, p_fresh,
        p_exclusives) AS e;
    PERFORM windlass.let_in(v_now, e.keys, e.places, p_theirs) FROM windlass.entered(p_ids) AS e WHERE e.keys IS NOT NULL;
    -- One that was named twice may have come in meanwhile.
    RETURN QUERY SELECT u.n, u.id, CASE WHEN u.state = 2
            THEN coalesce((SELECT j.state FROM windlass.job AS j WHERE j.id = u.id), u.state) ELSE u.state END
        FROM unnest(v_known.ns, v_known.ids, v_known.states) AS u (n, id, state);
END $$;

-- Undoes what this step has enqueued.
CREATE FUNCTION windlass.take_back(p_now bigint, p_id text) RETURNS void LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM windlass.job WHERE id = p_id RETURNING line, tenant, state)
    INSERT INTO windlass.ledger SELECT line, tenant, p_now / 60000000, -1, 0,
        -(state = 0)::integer, -(state = 1)::integer, -(state = 2)::integer, -(state = 3)::integer, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM gone
$$;

-- The same for jobs that come as JSON: what follows a finish, and what a flush makes. Whoever calls it lets in.
-- in: [{"id", "queue", ..}], the payload in base64    out: as enqueue_jobs
CREATE FUNCTION windlass.enqueue_json(p_wall bigint, p_jobs text)
RETURNS TABLE (n integer, id text, state smallint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT e.* FROM (
        SELECT array_agg(x.id ORDER BY o.n) AS ids, array_agg(x.queue ORDER BY o.n) AS queues,
            array_agg(x.kind ORDER BY o.n) AS kinds, array_agg(decode(x.payload, 'base64') ORDER BY o.n) AS payloads,
            array_agg(x.tags ORDER BY o.n) AS tags, array_agg(x.headers ORDER BY o.n) AS headers,
            array_agg(x.tenant ORDER BY o.n) AS tenants, array_agg(x.priority ORDER BY o.n) AS priorities,
            array_agg(x.max_retry ORDER BY o.n) AS retries, array_agg(x.timeout_us ORDER BY o.n) AS timeouts,
            array_agg(x.retention_us ORDER BY o.n) AS retentions, array_agg(x.start ORDER BY o.n) AS starts,
            array_agg(x.start_us ORDER BY o.n) AS start_us, array_agg(x.deadline ORDER BY o.n) AS deadlines,
            array_agg(decode(x.key, 'base64') ORDER BY o.n) AS keys, array_agg(x.ttl ORDER BY o.n) AS ttls,
            array_agg(x.member_of ORDER BY o.n) AS groups, array_agg(x.fresh ORDER BY o.n) AS fresh,
            array_agg(x.exclusive ORDER BY o.n) AS exclusives
        FROM jsonb_array_elements(p_jobs::jsonb) WITH ORDINALITY AS o (job, n)
        CROSS JOIN LATERAL jsonb_to_record(o.job) AS x (id text, queue text, kind text, payload text, tags text,
            headers text, tenant text, priority smallint, max_retry bigint, timeout_us bigint, retention_us bigint,
            start smallint, start_us bigint, deadline bigint, key text, ttl bigint, member_of text, fresh boolean,
            exclusive text)
    ) AS a, windlass.enqueue_jobs(p_wall, a.ids, a.queues, a.kinds, a.payloads, a.tags, a.headers, a.tenants,
        a.priorities, a.retries, a.timeouts, a.retentions, a.starts, a.start_us, a.deadlines, a.keys, a.ttls, a.groups, a.fresh,
        a.exclusives) AS e;
END $$;
