-- 0006_tenant_times_down.sql: takes 0006_tenant_times.sql back.
-- in: nothing    out: nothing
ALTER TABLE windlass_tenant_bucket DROP COLUMN run;
ALTER TABLE windlass_tenant_bucket DROP COLUMN wait;
