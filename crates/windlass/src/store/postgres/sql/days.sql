-- days.sql: the parts of history, one for each day on which jobs expire, which are dropped as a whole.
-- in: see each function    out: functions
-- guarantee: nobody who ends a job makes a part or waits for one: sweeps make them ahead, and where there is none yet the
-- job goes to part 0. One process at a time makes and removes them. What a crash interrupts goes on where it stood.
-- why: run with the rights of whoever made the tables, since they make and drop tables; so nobody may call them who was not
--   told that he may

-- The part for a job that ends now and expires then.
-- why: what goes within two days is removed job by job, at its time; a part is dropped up to a day after that
CREATE FUNCTION windlass.part(p_now bigint, p_expires bigint) RETURNS integer LANGUAGE plpgsql STABLE
SET enable_seqscan = off AS $$
BEGIN
    IF p_expires - p_now < 172800000000 THEN
        RETURN 0;
    END IF;
    RETURN coalesce((SELECT d.day FROM windlass.day AS d WHERE d.day = p_expires / 86400000000 AND d.ready), 0);
END $$;

-- The name of a part's table.
CREATE FUNCTION windlass.part_name(p_day integer) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT 'history_' || to_char(date '1970-01-01' + p_day, 'YYYYMMDD')
$$;

-- The days that will be needed and have no part: those on which jobs of part 0 expire, the days after them, and the days
-- after those that hold something. None that is more than 400 days ahead.
-- why: one look at the index for each day
CREATE FUNCTION windlass.days_wanted(p_now bigint) RETURNS SETOF integer LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_first integer := p_now / 86400000000 + 2;
    v_last integer := v_first + 398;
    v_day integer := v_first - 1;
    v_used boolean;
BEGIN
    LOOP
        SELECT min(h.expires_at) / 86400000000 INTO v_day FROM windlass.history AS h WHERE h.day = 0
            AND h.expires_at >= (v_day + 1) * 86400000000 AND h.expires_at < (v_last + 1) * 86400000000;
        EXIT WHEN v_day IS NULL;
        RETURN NEXT v_day;
        RETURN NEXT v_day + 1;
    END LOOP;
    FOR v_day IN SELECT d.day FROM windlass.day AS d WHERE d.ready AND d.day BETWEEN v_first - 1 AND v_last - 1
        AND NOT EXISTS (SELECT 1 FROM windlass.day AS n WHERE n.day = d.day + 1)
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM windlass.history WHERE day = %s)', v_day) INTO v_used;
        IF v_used THEN
            RETURN NEXT v_day + 1;
        END IF;
    END LOOP;
END $$;

-- Makes up to eight parts that will be needed; they are used once a later call has seen them. Says how many.
-- why: a part is attached to an empty table of its own, so that nobody is kept from writing. Whoever sees that a part is
-- ready began after it was attached, so its plans know it.
CREATE FUNCTION windlass.make_days(p_wall bigint) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_day integer;
    v_made integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7089, 'windlass.day'::regclass::oid::integer) THEN
        RETURN 0;
    END IF;
    UPDATE windlass.day SET ready = true WHERE NOT ready AND past IS NULL;
    FOR v_day IN SELECT DISTINCT w.day FROM windlass.days_wanted(v_now) AS w (day)
        WHERE NOT EXISTS (SELECT 1 FROM windlass.day AS d WHERE d.day = w.day)
            -- Somebody else's table of that name costs its day the part: jobs stay in part 0.
            AND to_regclass('windlass.' || windlass.part_name(w.day)) IS NULL ORDER BY 1 LIMIT 8
    LOOP
        EXECUTE format('CREATE TABLE windlass.%I (LIKE windlass.history INCLUDING DEFAULTS) '
            'WITH (autovacuum_vacuum_insert_threshold = -1)', windlass.part_name(v_day));
        EXECUTE format('ALTER TABLE windlass.history ATTACH PARTITION windlass.%I FOR VALUES IN (%s)',
            windlass.part_name(v_day), v_day);
        INSERT INTO windlass.day (day, ready) VALUES (v_day, false);
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
EXCEPTION WHEN lock_not_available THEN
    -- Somebody changes the table. Another sweep does it.
    RETURN 0;
END $$;

-- One step of removing parts whose day is over: takes a part out of history, or counts up to p_limit jobs of one that was
-- taken out as removed, and drops it with the last one.
-- out: how many were counted, and whether there is more to do now
-- guarantee: a job is in history, or it is counted once: what is taken out is neither read nor changed by anybody. While
--   somebody reads history for long (a dump does) it is tried again a minute later, and others wait 50 ms at most.
CREATE FUNCTION windlass.drop_days(p_wall bigint, p_limit integer, OUT removed integer, OUT more boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' SET jit = off SET enable_seqscan = off AS $$
DECLARE
    v_now bigint := coalesce(p_wall, windlass.now_micros());
    v_day windlass.day;
BEGIN
    removed := 0;
    more := false;
    IF NOT pg_try_advisory_xact_lock(7089, 'windlass.day'::regclass::oid::integer) THEN
        RETURN;
    END IF;
    v_day := windlass.day_to_go(v_now);
    IF v_day.day IS NOT NULL AND p_limit > 0 THEN
        BEGIN
            IF v_day.past IS NULL THEN
                EXECUTE format('ALTER TABLE windlass.history DETACH PARTITION windlass.%I',
                    windlass.part_name(v_day.day));
                UPDATE windlass.day SET past = 0, ready = false WHERE day = v_day.day;
            ELSE
                removed := windlass.count_gone(v_now, v_day, p_limit);
                IF removed = 0 THEN
                    EXECUTE format('DROP TABLE windlass.%I', windlass.part_name(v_day.day));
                    DELETE FROM windlass.day WHERE day = v_day.day;
                END IF;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            UPDATE windlass.day SET tried_at = v_now WHERE day = v_day.day;
        END;
    END IF;
    more := (windlass.day_to_go(v_now)).day IS NOT NULL;
END $$;

-- The next part to remove, first those that are taken out already; nothing if there is none, or somebody reads it.
CREATE FUNCTION windlass.day_to_go(p_now bigint) RETURNS windlass.day LANGUAGE sql STABLE AS $$
    SELECT d FROM windlass.day AS d WHERE (d.past IS NOT NULL OR (d.day + 1) * 86400000000 <= p_now)
        AND (d.tried_at IS NULL OR p_now - d.tried_at NOT BETWEEN 0 AND 60000000)
    ORDER BY d.past IS NULL, d.day LIMIT 1
$$;

-- Counts up to p_limit jobs of a part that was taken out as removed, with what belongs to them. Says how many.
CREATE FUNCTION windlass.count_gone(p_now bigint, p_day windlass.day, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_events windlass.event[];
    v_seqs bigint[];
    v_sides bigint[];
    v_ids text[];
BEGIN
    EXECUTE format('SELECT array_agg(ROW(h.line, h.tenant, h.state, NULL, NULL, NULL, NULL, NULL)::windlass.event), '
        'array_agg(h.seq), array_agg(h.seq) FILTER (WHERE h.side), array_agg(h.id) FILTER (WHERE windlass.named(h.id)) '
        'FROM (SELECT line, tenant, state, seq, side, id FROM windlass.%I WHERE seq > $1 ORDER BY seq LIMIT $2) AS h',
        windlass.part_name(p_day.day)) INTO v_events, v_seqs, v_sides, v_ids USING p_day.past, p_limit;
    IF v_seqs IS NULL THEN
        RETURN 0;
    END IF;
    IF v_sides IS NOT NULL THEN
        PERFORM windlass.remove_side(v_sides);
    END IF;
    IF v_ids IS NOT NULL THEN
        PERFORM windlass.free(v_ids, v_seqs);
    END IF;
    PERFORM windlass.book(p_now, v_events);
    UPDATE windlass.day SET past = v_seqs[cardinality(v_seqs)] WHERE day = p_day.day;
    RETURN cardinality(v_seqs);
END $$;

REVOKE ALL ON FUNCTION windlass.make_days(bigint), windlass.drop_days(bigint, integer) FROM PUBLIC;
