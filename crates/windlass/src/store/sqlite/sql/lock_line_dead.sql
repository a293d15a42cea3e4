-- lock_line_dead.sql: takes waiters who no longer ask out of a line.
-- in: ?1 name, ?2 boot, ?3 now (monotonic), ?4 how many    out: nothing
DELETE FROM windlass_lock_line WHERE name = ?1 AND place IN (
    SELECT place FROM windlass_lock_line WHERE name = ?1 AND (boot <> ?2 OR until_mono <= ?3) LIMIT ?4)
