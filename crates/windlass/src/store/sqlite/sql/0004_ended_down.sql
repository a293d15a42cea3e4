-- 0004_ended_down.sql: takes 0004_ended.sql back.
-- in: nothing    out: nothing
DROP INDEX windlass_job_over;
CREATE INDEX windlass_job_ended ON windlass_job (state, completed_at) WHERE state IN (6, 7, 8);
