-- server_list.sql: the servers that gave a sign of life lately.
-- in: $1 the wall clock of a test, or null, $2 how long ago at most    out: seen_at, body
SELECT seen_at, body FROM windlass.server WHERE seen_at >= coalesce($1, windlass.now_micros()) - $2 ORDER BY id
