-- change_aggregating.sql: a job waits in its group.
-- in: ?1 seq, ?2 its version, ?3 now    out: nothing
UPDATE windlass_job SET state = 3, ord = ?2, pending_at = ?3, updated_at = ?3, run_at = NULL, completed_at = NULL,
    expires_at = NULL, reason = NULL
WHERE seq = ?1
