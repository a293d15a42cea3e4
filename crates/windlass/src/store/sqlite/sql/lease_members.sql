-- lease_members.sql: how many jobs a lease holds.
-- in: ?1 lease    out: count
SELECT count(*) FROM windlass_job WHERE state = 4 AND lease = ?1
