-- 0001_first_down.sql: takes away all that 0001_first.sql made, and the list of the steps.
-- in: nothing    out: nothing
DROP VIEW windlass_record;
DROP TABLE windlass_server;
DROP TABLE windlass_tenant_bucket;
DROP TABLE windlass_bucket;
DROP TABLE windlass_wish;
DROP TABLE windlass_key;
DROP TABLE windlass_claim;
DROP TABLE windlass_lease;
DROP TABLE windlass_side;
DROP TABLE windlass_job;
DROP TABLE windlass_pause;
DROP TABLE windlass_line;
DROP TABLE windlass_counter;
DROP TABLE windlass_meta;
DROP TABLE windlass_migration;
