-- tenant_bucket_write.sql: what ended in a minute, of one tenant, added up.
-- in: ?1 minute, ?2 tenant, ?3.. the sums    out: nothing
INSERT OR REPLACE INTO windlass_tenant_bucket (minute, tenant, completed, retried, dead, cancelled, duration_us, wait, run)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
