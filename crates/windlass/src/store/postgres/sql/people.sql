-- people.sql: for people and for clients in other languages: views, and jobs by a function.
-- in: see each    out: views and functions

-- Tells other processes of new work when this transaction commits, if there is so little that they may be waiting.
-- why: notices are committed one after the other by the whole server; who is busy finds more without them. Where much
-- waits, the jobs that came in last do, and those are few to look at, however many dead rows there are.
CREATE FUNCTION windlass.tell_if_calm() RETURNS void LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT count(*) FROM windlass.job
        WHERE seq > (SELECT last_value FROM windlass.place) - 64 AND state + 0 = 0) < 16 THEN
        PERFORM pg_notify(split_part('windlass.', '.', 1), '');
    END IF;
END $$;

-- A duration, such as '10s', '5 minutes' or '2d', in microseconds.
CREATE FUNCTION windlass.micros(p_duration text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM p_duration::interval) * 1000000)::bigint
$$;

-- Enqueues a job in the caller's transaction, and answers its id: SELECT windlass.enqueue('email:send', '{"to": "a@b.c"}').
-- options: queue, priority, max_retry, timeout, deadline, process_at, process_in, retention, id, tags, tenant, headers, group.
--   Durations are texts, such as "10m"; times are texts with a time zone. What is left out has the library's default.
-- guarantee: the job is there if and only if the transaction commits; an id that is taken is answered and changes nothing
CREATE FUNCTION windlass.enqueue(kind text, payload jsonb, options jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    v_unknown text;
    v_queue text := coalesce(options->>'queue', 'default');
    v_id text := options->>'id';
    v_at bigint := (extract(epoch FROM (options->>'process_at')::timestamptz) * 1000000)::bigint;
    v_in bigint := windlass.micros(options->>'process_in');
BEGIN
    SELECT o INTO v_unknown FROM jsonb_object_keys(options) AS o WHERE o <> ALL (ARRAY['queue', 'priority', 'max_retry',
        'timeout', 'deadline', 'process_at', 'process_in', 'retention', 'id', 'tags', 'tenant', 'headers', 'group']) LIMIT 1;
    IF v_unknown IS NOT NULL THEN
        RAISE EXCEPTION 'there is no option `%`', v_unknown USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(trim(kind), '') = '' OR right(kind, 1) = '*' OR octet_length(kind) > 255 OR kind ~ '[[:cntrl:]]' THEN
        RAISE EXCEPTION 'the kind is empty, too long, ends in `*` or holds a control character'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF trim(v_queue) = '' OR octet_length(v_queue) > 255 OR v_queue ~ '[{}[:cntrl:]]' THEN
        RAISE EXCEPTION 'the queue is empty, too long, or holds a brace or a control character'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT coalesce((options->>'priority')::integer, 0) BETWEEN -100 AND 100 THEN
        RAISE EXCEPTION 'the priority is not between -100 and 100' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_id IS NULL THEN
        -- A UUID of version 7: the time, then chance.
        v_id := encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
            PLACING substring(int8send(windlass.now_micros() / 1000) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid::text;
    END IF;
    PERFORM windlass.enqueue_json(NULL, jsonb_build_array(jsonb_build_object(
        'id', v_id, 'fresh', options->>'id' IS NULL, 'queue', v_queue, 'kind', kind, 'payload', encode(convert_to(payload::text, 'UTF8'), 'base64'),
        'tags', (SELECT string_agg(t, E'\x1f') FROM jsonb_array_elements_text(options->'tags') AS t),
        'headers', options->>'headers', 'tenant', options->>'tenant',
        'priority', coalesce((options->>'priority')::integer, 0), 'max_retry', coalesce((options->>'max_retry')::bigint, 25),
        'timeout_us', coalesce(windlass.micros(options->>'timeout'), 1800000000),
        'retention_us', coalesce(windlass.micros(options->>'retention'), 0),
        'start', CASE WHEN v_at IS NOT NULL THEN 1 WHEN v_in IS NOT NULL THEN 2 ELSE 0 END,
        'start_us', coalesce(v_at, v_in, 0),
        'deadline', (extract(epoch FROM (options->>'deadline')::timestamptz) * 1000000)::bigint,
        'member_of', v_queue || E'\x1f' || (options->>'group')))::text);
    PERFORM windlass.tell_if_calm();
    RETURN v_id;
END $$;

CREATE FUNCTION windlass.state_name(p_state smallint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['pending', 'scheduled', 'blocked', 'aggregating', 'running', 'retrying', 'completed', 'dead',
        'cancelled'])[p_state + 1]
$$;

CREATE FUNCTION windlass.time(p_us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_us >= 9000000000000000000 THEN 'infinity' ELSE to_timestamp(p_us / 1000000.0) END
$$;

-- The payload as JSON; null if it is none.
CREATE FUNCTION windlass.as_json(p_bytes bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN convert_from(p_bytes, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

-- Jobs that have not ended, and those that have, as people read them.
CREATE VIEW windlass.jobs AS
SELECT job.id, line.kind, line.queue, windlass.state_name(job.state) AS state, job.priority, job.tenant, job.tags,
    windlass.as_json(job.payload) AS payload, job.attempt, job.failures, job.crashes, job.snoozes, job.max_retry,
    job.errors, job.cancel AS cancel_requested, job.server, windlass.time(job.created_at) AS created_at,
    windlass.time(job.updated_at) AS updated_at, windlass.time(job.run_at) AS run_at,
    windlass.time(job.pending_at) AS pending_at, windlass.time(job.started_at) AS started_at,
    windlass.time(job.deadline) AS deadline
FROM windlass.job AS job JOIN windlass.line AS line ON line.id = job.line;

CREATE VIEW windlass.job_history AS
SELECT job.id, line.kind, line.queue, windlass.state_name(job.state) AS state, job.reason, job.priority, job.tenant, job.tags,
    windlass.as_json(job.payload) AS payload, windlass.as_json(job.result) AS result, job.attempt, job.failures,
    job.crashes, job.snoozes, job.errors, job.server, windlass.time(job.created_at) AS created_at,
    windlass.time(job.started_at) AS started_at, windlass.time(job.completed_at) AS completed_at,
    windlass.time(job.expires_at) AS expires_at
FROM windlass.history AS job JOIN windlass.line AS line ON line.id = job.line;
