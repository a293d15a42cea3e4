-- migrate_empty.sql: goes on only if no job is there and no server works, and keeps it so.
-- in: nothing    out: nothing, or an error
LOCK TABLE windlass.job, windlass.history IN ACCESS EXCLUSIVE MODE;
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM windlass.job) OR EXISTS (SELECT 1 FROM windlass.history) THEN
        RAISE EXCEPTION 'the store holds jobs' USING ERRCODE = 'object_in_use';
    ELSIF EXISTS (SELECT 1 FROM windlass.server WHERE seen_at > windlass.now_micros() - 30000000) THEN
        RAISE EXCEPTION 'servers work on the store' USING ERRCODE = 'object_in_use';
    END IF;
END $$;
