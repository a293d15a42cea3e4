-- prune_locks.sql: forgets holds that lapsed long ago.
-- in: ?1 boot, ?2 until (monotonic), ?3 how many    out: nothing
DELETE FROM windlass_lock WHERE (name, token) IN (
    SELECT name, token FROM windlass_lock WHERE boot <> ?1 OR until_mono <= ?2 LIMIT ?3)
