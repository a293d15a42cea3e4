-- tenant_bucket_read.sql: what ended in a minute, of one tenant.
-- in: ?1 minute, ?2 tenant    out: one row or none
SELECT completed, retried, dead, cancelled, duration_us, wait, run FROM windlass_tenant_bucket
WHERE minute = ?1 AND tenant = ?2
