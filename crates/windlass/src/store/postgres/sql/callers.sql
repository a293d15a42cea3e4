-- callers.sql: jobs from clients in other languages, and from triggers: windlass.enqueue().
-- in: see each    out: functions
-- why: what a client of the library is told before anything is sent is said here by errors that name the option

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

-- Refuses what a caller gave.
CREATE FUNCTION windlass.refuse(p_why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', p_why USING ERRCODE = 'invalid_parameter_value';
END $$;

-- A name as the library takes one: not blank, at most 255 bytes, no control character.
-- why: blank is what Rust takes for white space, written out; a job with a name that it cannot read would be read by nobody
CREATE FUNCTION windlass.check_name(p_what text, p_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_name IS NULL OR p_name !~ '[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
        OR octet_length(p_name) > 255 OR p_name ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        PERFORM windlass.refuse(format('the %s is empty, longer than 255 bytes or holds a control character', p_what));
    END IF;
END $$;

-- Refuses a field that is none of these. p_what: where it stands
CREATE FUNCTION windlass.check_fields(p_what text, p_given jsonb, p_known text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_unknown text;
BEGIN
    IF jsonb_typeof(p_given) <> 'object' THEN
        PERFORM windlass.refuse(format('%s: give an object, not %s', p_what, p_given));
    END IF;
    SELECT field INTO v_unknown FROM jsonb_object_keys(p_given) AS field WHERE field <> ALL (p_known) LIMIT 1;
    IF FOUND THEN
        PERFORM windlass.refuse(format('%s: there is no `%s`; there are %s', p_what, v_unknown,
            array_to_string(p_known, ', ')));
    END IF;
END $$;

-- The options of a call by their types; null where the caller says nothing.
CREATE FUNCTION windlass.option_text(p_options jsonb, p_name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_typeof(p_options->p_name) NOT IN ('string', 'null') THEN
        PERFORM windlass.refuse(format('the option `%s` is a text, not %s', p_name, p_options->p_name));
    END IF;
    IF p_options->>p_name IS NOT NULL THEN
        PERFORM windlass.check_name(format('option `%s`', p_name), p_options->>p_name);
    END IF;
    RETURN p_options->>p_name;
END $$;

CREATE FUNCTION windlass.option_number(p_options jsonb, p_name text, p_least bigint, p_most bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_typeof(p_options->p_name) NOT IN ('number', 'null')
        OR (p_options->>p_name)::numeric NOT BETWEEN p_least AND p_most
        OR (p_options->>p_name)::numeric <> trunc((p_options->>p_name)::numeric) THEN
        PERFORM windlass.refuse(format('the option `%s` is a whole number from %s to %s, not %s', p_name, p_least, p_most,
            p_options->p_name));
    END IF;
    RETURN trunc((p_options->>p_name)::numeric);
END $$;

-- A duration, such as '10s', '5 minutes' or '2d', in microseconds.
CREATE FUNCTION windlass.option_micros(p_options jsonb, p_name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_micros bigint;
BEGIN
    IF p_options->>p_name IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        -- A number would be taken for seconds, which its writer may not have meant.
        IF jsonb_typeof(p_options->p_name) = 'string' AND p_options->>p_name ~ '[a-zA-Z:]' THEN
            v_micros := extract(epoch FROM (p_options->>p_name)::interval) * 1000000;
        END IF;
    EXCEPTION WHEN data_exception THEN
        v_micros := NULL;
    END;
    IF v_micros IS NULL OR v_micros < 0 THEN
        PERFORM windlass.refuse(format('the option `%s` is a duration such as "90s", "10m" or "2 days", not %s', p_name,
            p_options->p_name));
    END IF;
    RETURN v_micros;
END $$;

-- A moment, in microseconds since 1970.
CREATE FUNCTION windlass.option_moment(p_options jsonb, p_name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_micros bigint;
BEGIN
    IF p_options->>p_name IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        IF jsonb_typeof(p_options->p_name) = 'string' AND isfinite((p_options->>p_name)::timestamptz) THEN
            v_micros := extract(epoch FROM (p_options->>p_name)::timestamptz) * 1000000;
        END IF;
    EXCEPTION WHEN data_exception THEN
        v_micros := NULL;
    END;
    IF v_micros IS NULL THEN
        PERFORM windlass.refuse(format('the option `%s` is a moment such as "2030-01-31 08:00:00+01", not %s', p_name,
            p_options->p_name));
    END IF;
    RETURN v_micros;
END $$;

-- The option `tags`, as enqueue_jobs takes it.
CREATE FUNCTION windlass.option_tags(p_options jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_tags jsonb := nullif(p_options->'tags', 'null');
    v_wrong boolean;
BEGIN
    IF v_tags IS NULL OR v_tags = '[]' THEN
        RETURN NULL;
    END IF;
    v_wrong := jsonb_typeof(v_tags) <> 'array';
    IF NOT v_wrong THEN
        v_wrong := jsonb_array_length(v_tags) > 64
            OR EXISTS (SELECT 1 FROM jsonb_array_elements(v_tags) AS tag WHERE jsonb_typeof(tag) <> 'string');
    END IF;
    IF v_wrong THEN
        PERFORM windlass.refuse(format('the option `tags` is a list of at most 64 texts, not %s', v_tags));
    END IF;
    PERFORM windlass.check_name('tag', tag) FROM jsonb_array_elements_text(v_tags) AS tag;
    RETURN (SELECT string_agg(tag, E'\x1f' ORDER BY n) FROM jsonb_array_elements_text(v_tags) WITH ORDINALITY AS t (tag, n));
END $$;

-- The option `headers`, as enqueue_jobs takes it.
CREATE FUNCTION windlass.option_headers(p_options jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_headers jsonb := nullif(p_options->'headers', 'null');
    v_wrong boolean;
BEGIN
    IF v_headers IS NULL OR v_headers = '{}' THEN
        RETURN NULL;
    END IF;
    v_wrong := jsonb_typeof(v_headers) <> 'object';
    IF NOT v_wrong THEN
        SELECT count(*) > 64 OR bool_or(jsonb_typeof(value) <> 'string') OR bool_or(octet_length(value #>> '{}') > 8192)
        INTO v_wrong FROM jsonb_each(v_headers);
    END IF;
    IF v_wrong THEN
        PERFORM windlass.refuse(format('the option `headers` is an object of at most 64 texts of up to 8 KiB, not %s',
            left(v_headers::text, 200)));
    END IF;
    PERFORM windlass.check_name('name of a header', name) FROM jsonb_object_keys(v_headers) AS name;
    RETURN v_headers::text;
END $$;

-- One form of a value, however it was written, as in job/unique.rs.
-- why: the library writes other numbers as Rust does, in ways that a program in another language could hardly know
CREATE FUNCTION windlass.canonical(p_value jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_number numeric;
BEGIN
    CASE jsonb_typeof(p_value)
    WHEN 'array' THEN
        RETURN '[' || coalesce((SELECT string_agg(windlass.canonical(item) || ',', '' ORDER BY n)
            FROM jsonb_array_elements(p_value) WITH ORDINALITY AS i (item, n)), '') || ']';
    WHEN 'object' THEN
        RETURN '{' || coalesce((SELECT string_agg(to_jsonb(name)::text || ':' || windlass.canonical(value) || ',', ''
            ORDER BY name COLLATE "C") FROM jsonb_each(p_value) AS f (name, value)), '') || '}';
    WHEN 'number' THEN
        v_number := p_value::numeric;
        IF v_number <> trunc(v_number) OR abs(v_number) >= 9007199254740992 THEN
            PERFORM windlass.refuse(format('numbers in a unique key are whole and below 2^53; write %s as a text', p_value));
        END IF;
        RETURN trunc(v_number)::bigint::text;
    ELSE
        RETURN p_value::text;
    END CASE;
END $$;

-- The key that a job is unique by, as the library makes it (job/unique.rs).
CREATE FUNCTION windlass.unique_key(p_kind text, p_tenant text, p_value jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT substring(sha256(convert_to('windlass unique key v1', 'UTF8')
        || int8send(octet_length(kind)) || kind || int8send(octet_length(tenant)) || tenant
        || int8send(octet_length(value)) || value
        || CASE WHEN p_tenant IS NULL THEN '\x00'::bytea ELSE '\x01'::bytea END) FROM 1 FOR 16)
    FROM (SELECT convert_to(p_kind, 'UTF8') AS kind, convert_to(coalesce(p_tenant, ''), 'UTF8') AS tenant,
        convert_to(windlass.canonical(p_value), 'UTF8') AS value) AS parts
$$;

-- Enqueues a job in the caller's transaction, and answers its id: SELECT windlass.enqueue('email:send', '{"to": "a@b.c"}').
-- options: queue, priority, max_retry, timeout, deadline, process_at, process_in, retention, id, tags, tenant, headers,
--   group, exclusive, unique: {"key": .., "ttl": ..}. What is left out, or null, has the library's default.
-- guarantee: the job is there if and only if the transaction commits; a job that has the id, or that holds the unique key,
--   is answered and nothing is changed; one that is exclusive comes into line soon after the commit
CREATE FUNCTION windlass.enqueue(kind text, payload jsonb, options jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    v_options jsonb := coalesce(options, '{}');
    v_queue text;
    v_tenant text;
    v_group text;
    v_exclusive text;
    v_id text;
    v_holder text;
    v_at bigint;
    v_in bigint;
    v_unique jsonb;
BEGIN
    PERFORM windlass.check_fields('options', v_options, ARRAY['queue', 'priority', 'max_retry', 'timeout', 'deadline',
        'process_at', 'process_in', 'retention', 'id', 'tags', 'tenant', 'headers', 'group',
        'exclusive', 'unique']);
    PERFORM windlass.check_name('kind', kind);
    IF right(kind, 1) = '*' THEN
        PERFORM windlass.refuse('the kind ends in `*`, which only patterns do');
    END IF;
    IF payload IS NULL OR octet_length(payload::text) > 1048576 THEN
        PERFORM windlass.refuse('the payload is null or larger than 1 MiB; give ''null'' where there is none');
    END IF;
    v_queue := coalesce(windlass.option_text(v_options, 'queue'), 'default');
    IF v_queue ~ '[{}]' THEN
        PERFORM windlass.refuse('the option `queue` holds a brace');
    END IF;
    v_tenant := windlass.option_text(v_options, 'tenant');
    v_group := windlass.option_text(v_options, 'group');
    v_exclusive := windlass.option_text(v_options, 'exclusive');
    IF v_group IS NOT NULL AND v_exclusive IS NOT NULL THEN
        PERFORM windlass.refuse('a job of a group cannot be exclusive; give `group` or `exclusive`, not both');
    END IF;
    v_at := windlass.option_moment(v_options, 'process_at');
    v_in := windlass.option_micros(v_options, 'process_in');
    IF v_at IS NOT NULL AND v_in IS NOT NULL THEN
        PERFORM windlass.refuse('give `process_at` or `process_in`, not both');
    END IF;
    IF windlass.option_micros(v_options, 'timeout') = 0 THEN
        PERFORM windlass.refuse('the option `timeout` is above zero');
    END IF;
    v_unique := nullif(v_options->'unique', 'null');
    IF v_unique IS NOT NULL THEN
        PERFORM windlass.check_fields('the option `unique`', v_unique, ARRAY['key', 'ttl']);
        IF v_unique->'key' IS NULL THEN
            PERFORM windlass.refuse('the option `unique` needs a `key`');
        END IF;
    END IF;
    v_id := windlass.option_text(v_options, 'id');
    IF v_id IS NULL THEN
        -- A UUID of version 7: the time, then chance.
        v_id := encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
            PLACING substring(int8send(windlass.now_micros() / 1000) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid::text;
    END IF;
    SELECT e.id INTO v_holder FROM windlass.enqueue_json(NULL, jsonb_build_array(jsonb_build_object(
        'id', v_id, 'fresh', v_options->>'id' IS NULL, 'queue', v_queue, 'kind', kind, 'payload', encode(convert_to(payload::text, 'UTF8'), 'base64'),
        'tags', windlass.option_tags(v_options), 'headers', windlass.option_headers(v_options), 'tenant', v_tenant,
        'priority', coalesce(windlass.option_number(v_options, 'priority', -100, 100), 0),
        'max_retry', coalesce(windlass.option_number(v_options, 'max_retry', 0, 4294967295), 25),
        'timeout_us', coalesce(windlass.option_micros(v_options, 'timeout'), 1800000000),
        'retention_us', coalesce(windlass.option_micros(v_options, 'retention'), 0),
        'start', CASE WHEN v_at IS NOT NULL THEN 1 WHEN v_in IS NOT NULL THEN 2 ELSE 0 END,
        'start_us', coalesce(v_at, v_in, 0), 'deadline', windlass.option_moment(v_options, 'deadline'),
        'key', encode(windlass.unique_key(kind, v_tenant, v_unique->'key'), 'base64'),
        'ttl', windlass.option_micros(v_unique, 'ttl'), 'member_of', v_queue || E'\x1f' || v_group,
        'exclusive', v_queue || E'\x1f' || v_exclusive))::text) AS e;
    IF v_exclusive IS NOT NULL THEN
        PERFORM windlass.let_in(NULL, e.keys, e.places, true) FROM windlass.entered(ARRAY[v_id]) AS e
        WHERE e.keys IS NOT NULL;
    END IF;
    PERFORM windlass.tell_if_calm();
    RETURN coalesce(v_holder, v_id);
END $$;
