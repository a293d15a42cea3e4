-- errors_read.sql: the error history of a job.
-- in: ?1 seq    out: JSON, or no row
SELECT errors FROM windlass_side WHERE seq = ?1
