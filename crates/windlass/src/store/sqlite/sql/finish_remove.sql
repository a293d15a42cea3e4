-- finish_remove.sql: completes and removes a job without retention, if this fence is its newest.
-- in: ?1 id, ?2 fence    out: what its numbers need, or no row
DELETE FROM windlass_job WHERE id = ?1 AND state = 4 AND fence = ?2 AND retention_us = 0
RETURNING seq, line, created_at, pending_at, started_at, tenant, side, lease
