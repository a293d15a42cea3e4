-- remove.sql: removes a job.
-- in: ?1 seq    out: nothing
DELETE FROM windlass_job WHERE seq = ?1
