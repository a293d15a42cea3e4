-- change_waiting.sql: a job waits for its time.
-- in: ?1 seq, ?2 state (1 or 5), ?3 its time, ?4 now    out: nothing
UPDATE windlass_job SET state = ?2, run_at = ?3, updated_at = ?4 WHERE seq = ?1
