-- reset.sql: a redriven job has all its attempts again.
-- in: ?1 seq    out: nothing
UPDATE windlass_job SET failures = 0, crashes = 0 WHERE seq = ?1
