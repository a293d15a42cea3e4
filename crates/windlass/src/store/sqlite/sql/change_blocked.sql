-- change_blocked.sql: a job waits for the holder of its key.
-- in: ?1 seq, ?2 its place among those who do, ?3 now    out: nothing
UPDATE windlass_job SET state = 2, ord = ?2, pending_at = ?3, updated_at = ?3, run_at = NULL, completed_at = NULL,
    expires_at = NULL, reason = NULL
WHERE seq = ?1
