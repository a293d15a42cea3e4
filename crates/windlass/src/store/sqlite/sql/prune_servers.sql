-- prune_servers.sql: forgets servers that have been silent for long.
-- in: ?1 the oldest sign of life to keep, ?2 how many    out: nothing
DELETE FROM windlass_server WHERE id IN (SELECT id FROM windlass_server WHERE seen_at < ?1 LIMIT ?2)
