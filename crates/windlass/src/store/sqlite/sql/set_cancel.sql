-- set_cancel.sql: a running job is to stop.
-- in: ?1 seq, ?2 reason    out: nothing
UPDATE windlass_job SET cancel = ?2 WHERE seq = ?1
