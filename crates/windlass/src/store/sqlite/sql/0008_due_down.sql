-- 0008_due_down.sql: takes 0005_due.sql back.
-- in: nothing    out: nothing
DROP INDEX windlass_job_waiting;
CREATE INDEX windlass_job_due ON windlass_job (run_at) WHERE state IN (1, 5);
