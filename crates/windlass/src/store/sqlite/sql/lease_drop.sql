-- lease_drop.sql: removes a lease that holds nothing any more.
-- in: ?1 lease    out: nothing
DELETE FROM windlass_lease WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM windlass_job WHERE state = 4 AND lease = ?1)
