-- queue_known.sql: whether a queue ever had a job.
-- in: ?1 queue    out: a row, or none
SELECT 1 FROM windlass_line WHERE queue = ?1
