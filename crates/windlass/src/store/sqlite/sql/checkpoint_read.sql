-- checkpoint_read.sql: from where a job's next run goes on.
-- in: ?1 seq    out: bytes, or no row
SELECT value FROM windlass_checkpoint WHERE seq = ?1
