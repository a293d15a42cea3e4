-- tenant_tallies.sql: the buckets of tenants from a minute on, added up.
-- in: ?1 minute    out: the sums, then tenant
SELECT sum(completed), sum(retried), sum(dead), sum(cancelled), sum(duration_us), tenant
FROM windlass_tenant_bucket WHERE minute >= ?1 GROUP BY tenant
