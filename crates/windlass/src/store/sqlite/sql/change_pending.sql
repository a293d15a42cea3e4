-- change_pending.sql: a job stands in line.
-- in: ?1 seq, ?2 its place, ?3 now, ?4 suspect    out: nothing
UPDATE windlass_job SET state = 0, ord = ?2, pending_at = ?3, updated_at = ?3, suspect = ?4, run_at = NULL,
    completed_at = NULL, expires_at = NULL, reason = NULL
WHERE seq = ?1
