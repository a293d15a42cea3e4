-- lease_put.sql: a lease begins, or lasts longer.
-- in: ?1 lease, ?2 server, ?3 boot, ?4 its end    out: nothing
INSERT INTO windlass_lease (id, server, boot, until_mono) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, until_mono = excluded.until_mono
