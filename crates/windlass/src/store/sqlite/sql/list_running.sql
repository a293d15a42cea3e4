-- list_running.sql: the running jobs past one, in order of enqueueing.
-- in: ?1 seq, ?2 how many    out: seq
SELECT seq FROM windlass_job WHERE state = 4 AND seq > ?1 ORDER BY seq LIMIT ?2
