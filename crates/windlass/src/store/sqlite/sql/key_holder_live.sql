-- key_holder_live.sql: the live job that holds a unique key until it is done.
-- in: ?1 key    out: id, state, or no row
SELECT id, state FROM windlass_job WHERE unique_key = ?1 AND unique_ttl_us IS NULL AND state < 6
