-- tenant_tallies.sql: the buckets of tenants from a minute on.
-- in: ?1 minute    out: the sums, then tenant
SELECT completed, retried, dead, cancelled, duration_us, wait, run, tenant
FROM windlass_tenant_bucket WHERE minute >= ?1
