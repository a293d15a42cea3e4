-- list_running.sql: the running jobs past one, in order of enqueueing.
-- in: ?1 seq, ?2 how many    out: seq
-- why: without the index named, a million pending jobs are walked by seq in search of the few that run
SELECT seq FROM windlass_job INDEXED BY windlass_job_running WHERE state = 4 AND seq > ?1 ORDER BY seq LIMIT ?2
