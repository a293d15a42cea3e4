-- lease_move.sql: a job goes under another lease; its fence stays.
-- in: ?1 seq, ?2 lease    out: nothing
UPDATE windlass_job SET lease = ?2 WHERE seq = ?1 AND state = 4
