-- 0009_exclusive.sql: exclusive jobs.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration. Of the jobs with one key at most one
-- is in line or runs: the unique index refuses a second one, whatever a program does.
-- why: the key stands in the row as its queue, the byte 1F and the key, as `member_of` does. The holder is the lock.
-- Programs of an earlier schema are refused: they would let nobody in when a holder ends.
ALTER TABLE windlass_job ADD COLUMN exclusive TEXT;
CREATE UNIQUE INDEX windlass_job_holder ON windlass_job (exclusive) WHERE exclusive IS NOT NULL AND state IN (0, 4);
CREATE INDEX windlass_job_blocked ON windlass_job (exclusive, priority DESC, ord)
    WHERE exclusive IS NOT NULL AND state = 2;
