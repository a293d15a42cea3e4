-- prune_tenant_buckets.sql: forgets old minutes of tenants.
-- in: ?1 the oldest minute to keep, ?2 how many rows    out: nothing
DELETE FROM windlass_tenant_bucket WHERE (minute, tenant) IN (
    SELECT minute, tenant FROM windlass_tenant_bucket WHERE minute < ?1 LIMIT ?2)
