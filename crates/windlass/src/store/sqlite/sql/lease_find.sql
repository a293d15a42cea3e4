-- lease_find.sql: the lease that holds a job, if this fence is its newest.
-- in: ?1 id, ?2 fence    out: seq, lease, or no row
SELECT seq, lease FROM windlass_job WHERE id = ?1 AND state = 4 AND fence = ?2
