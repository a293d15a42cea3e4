-- finish_read.sql: a job whose end its holder reports, if the report's fence is the newest.
-- in: ?1 id, ?2 fence    out: what the numbers of a job need that is not kept and holds no key, or no row
SELECT seq, line, created_at, pending_at, started_at, tenant, side, lease FROM windlass_job
WHERE id = ?1 AND state = 4 AND fence = ?2 AND retention_us = 0 AND exclusive IS NULL
