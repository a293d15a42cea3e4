-- migrate_from.sql: goes on only if the tables are of the version that what follows is for.
-- in: :from, that version; 0 for none    out: nothing, or an error
DO $$
DECLARE
    v_version bigint := 0;
BEGIN
    IF EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = split_part('windlass.', '.', 1) AND c.relname = 'migration') THEN
        SELECT coalesce(max(version), 0) INTO v_version FROM windlass.migration;
    END IF;
    IF v_version <> :from THEN
        RAISE EXCEPTION 'the tables are of version %, and this is for those of version :from', v_version
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'See windlass migrate status.';
    END IF;
END $$;
