-- prune_lock_lines.sql: forgets places in line of those who have long stopped to ask.
-- in: ?1 boot, ?2 until (monotonic), ?3 how many    out: nothing
DELETE FROM windlass_lock_line WHERE (name, place) IN (
    SELECT name, place FROM windlass_lock_line WHERE boot <> ?1 OR until_mono <= ?2 LIMIT ?3)
