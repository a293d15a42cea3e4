-- tenant_bucket_add.sql: adds what ended in a minute, of one tenant.
-- in: ?1 minute, ?2 tenant, ?3.. the changes    out: nothing
INSERT INTO windlass_tenant_bucket (minute, tenant, completed, retried, dead, cancelled, duration_us)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (minute, tenant) DO UPDATE SET completed = completed + excluded.completed,
    retried = retried + excluded.retried, dead = dead + excluded.dead, cancelled = cancelled + excluded.cancelled,
    duration_us = duration_us + excluded.duration_us
