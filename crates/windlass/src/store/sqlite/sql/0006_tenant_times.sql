-- 0006_tenant_times.sql: how long the runs of tenants waited and took.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration.
-- why: older programs go on; what they count adds no times.
ALTER TABLE windlass_tenant_bucket ADD COLUMN wait BLOB NOT NULL DEFAULT x'';
ALTER TABLE windlass_tenant_bucket ADD COLUMN run BLOB NOT NULL DEFAULT x'';
