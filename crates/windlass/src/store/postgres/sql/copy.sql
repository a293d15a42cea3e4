-- copy.sql: before and after many jobs are made durable by COPY, which costs the server a third of what arrays do.
-- in: see each function    out: see each function
-- guarantee: all three steps are one transaction; whoever finds an id taken rolls it back and takes the way of enqueue.sql

-- Makes room: the clock, the lines of these queues and kinds (each once), and so many places.
CREATE FUNCTION windlass.begin_copy(p_wall bigint, p_queues text[], p_kinds text[], p_many integer,
    OUT now_us bigint, OUT lines integer[], OUT places bigint[]) LANGUAGE plpgsql AS $$
BEGIN
    now_us := coalesce(p_wall, windlass.now_micros());
    PERFORM windlass.make_lines(p_queues, p_kinds);
    lines := windlass.find_lines(p_queues, p_kinds);
    places := ARRAY(SELECT nextval('windlass.place') FROM generate_series(1, p_many));
END $$;

-- Notes the jobs that came in, by an element for each.
CREATE FUNCTION windlass.end_copy(p_now bigint, p_lines integer[], p_tenants text[], p_states smallint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM windlass.book(p_now, ARRAY(
        SELECT ROW(u.line, u.tenant, NULL, u.state, NULL, NULL, NULL, NULL)::windlass.event
        FROM unnest(p_lines, p_tenants, p_states) AS u (line, tenant, state)));
END $$;
