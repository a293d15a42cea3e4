-- 0008_due.sql: what waits for its time, by the line that it will stand in.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration.
-- why: a promotion takes a few jobs of each line. By the time alone it would have to walk over a million due jobs of a
-- line that is full, to the one behind them that could run. The line and the priority are one number, the place, so that
-- what waits for one of them is one range. Older programs go on: their promotions read more than they have to.
DROP INDEX windlass_job_due;
CREATE INDEX windlass_job_waiting ON windlass_job (line * 256 - priority, run_at) WHERE state IN (1, 5);
