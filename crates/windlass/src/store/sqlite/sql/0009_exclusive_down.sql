-- 0009_exclusive_down.sql: takes 0009_exclusive.sql back.
-- in: nothing    out: nothing
-- why: a program of the earlier schema would never run what is blocked, so it goes into line, and runs at once with others
DROP INDEX windlass_job_blocked;
DROP INDEX windlass_job_holder;
UPDATE windlass_line SET pending = pending + blocked, blocked = 0;
UPDATE windlass_job SET state = 0 WHERE state = 2;
ALTER TABLE windlass_job DROP COLUMN exclusive;
