-- days_down.sql: drops the parts of history that days.sql has taken out of it and not yet dropped.
-- in: nothing    out: nothing
-- why: they stand in no file, and what still is a part goes with history itself
DO $$
DECLARE
    v_part text;
BEGIN
    FOR v_part IN SELECT c.relname FROM pg_catalog.pg_class AS c JOIN windlass.day AS d ON windlass.part_name(d.day) = c.relname
        WHERE c.relnamespace = to_regnamespace(split_part('windlass.', '.', 1)) AND c.relkind = 'r' AND NOT c.relispartition
    LOOP
        EXECUTE format('DROP TABLE windlass.%I', v_part);
    END LOOP;
END $$;
