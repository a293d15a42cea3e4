-- prune_keys.sql: forgets keys whose window is over.
-- in: ?1 now, ?2 how many    out: nothing
DELETE FROM windlass_key WHERE key IN (SELECT key FROM windlass_key WHERE expires_at <= ?1 LIMIT ?2)
