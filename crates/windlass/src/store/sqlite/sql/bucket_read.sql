-- bucket_read.sql: what ended in a minute, of one line.
-- in: ?1 minute, ?2 line    out: one row or none
SELECT completed, retried, dead, cancelled, duration_us, wait, run FROM windlass_bucket WHERE minute = ?1 AND line = ?2
