-- migrate_lock.sql: one process at a time changes tables, until its transaction ends.
-- in: nothing    out: nothing
SELECT pg_advisory_xact_lock(7089, 0);
