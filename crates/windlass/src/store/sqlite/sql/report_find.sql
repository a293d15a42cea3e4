-- report_find.sql: a running job, if this fence is its newest.
-- in: ?1 id, ?2 fence    out: seq, attempt, side, or no row
SELECT seq, attempt, side FROM windlass_job WHERE id = ?1 AND state = 4 AND fence = ?2
