-- server_leave.sql: a server is no longer there.
-- in: ?1 id    out: nothing
DELETE FROM windlass_server WHERE id = ?1
