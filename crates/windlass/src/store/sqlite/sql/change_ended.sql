-- change_ended.sql: a job's life is over; it is kept for a while.
-- in: ?1 seq, ?2 state, ?3 reason, ?4 now, ?5 when it may go    out: nothing
UPDATE windlass_job SET state = ?2, reason = ?3, updated_at = ?4, completed_at = ?4, expires_at = ?5, run_at = NULL,
    cancel = NULL
WHERE seq = ?1
