-- cpu.sql: what the server's processes have used. For measurements.
-- in: see the function    out: a function
-- guarantee: writes nothing, and answers none rather than fail

-- The CPU time, user and system, of all processes of the server since it started: the first one, with those that have
-- ended and been taken note of, and its children. They are found in the host's /proc and not in pg_stat_activity, which no
-- longer knows one that is ending. Its ticks are hundredths of a second.
-- out: microseconds; none where the host has no such files or this user may not have the server read them
CREATE FUNCTION windlass.server_cpu() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_parent text;
    v_ticks  bigint;
BEGIN
    -- After the name, which may hold anything: state, parent, .., user, system, user and system of ended children.
    v_parent := substring(pg_read_file('/proc/self/stat', 0, 4096, true) FROM '\) . ([0-9]+)');
    SELECT sum(f[2]::bigint + f[3]::bigint + CASE WHEN name = v_parent THEN f[4]::bigint + f[5]::bigint ELSE 0 END)
    INTO v_ticks
    FROM pg_ls_dir('/proc') AS name,
        regexp_match(pg_read_file('/proc/' || name || '/stat', 0, 4096, true),
            '\) . ([0-9]+) (?:[-0-9]+ ){9}([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) ') AS f
    WHERE name ~ '^[0-9]+$' AND v_parent IN (name, f[1]);
    RETURN v_ticks * 10000;
-- The last: a process ended while its file was read.
EXCEPTION WHEN insufficient_privilege OR undefined_file OR internal_error THEN
    RETURN NULL;
END $$;
