-- due_next.sql: when the next job is due.
-- in: nothing    out: time, or null
SELECT min(run_at) FROM windlass_job WHERE state IN (1, 5)
