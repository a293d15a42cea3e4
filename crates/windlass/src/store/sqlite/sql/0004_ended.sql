-- 0004_ended.sql: the index of what has ended, with a condition that costs nothing.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration.
-- why: a list of three states made SQLite build a table of its own for every job that was written; only the ended
-- states have codes of 6 and more. Older programs go on: their prune of old jobs reads more than it has to.
DROP INDEX windlass_job_ended;
CREATE INDEX windlass_job_over ON windlass_job (state, completed_at) WHERE state >= 6;
