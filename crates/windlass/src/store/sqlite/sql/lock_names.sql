-- lock_names.sql: the names of locks that are held or waited for.
-- in: ?1 boot, ?2 now (monotonic), ?3 past this name, ?4 how many    out: names in order
SELECT name FROM windlass_lock WHERE name > ?3 AND boot = ?1 AND until_mono > ?2
UNION
SELECT name FROM windlass_lock_line WHERE name > ?3 AND boot = ?1 AND until_mono > ?2
ORDER BY name LIMIT ?4
