-- server_list.sql: the servers that were seen since.
-- in: ?1 since    out: seen_at, body
SELECT seen_at, body FROM windlass_server WHERE seen_at >= ?1 ORDER BY id
