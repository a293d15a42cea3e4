-- lock_holders.sql: those who have held a lock longest.
-- in: ?1 name, ?2 boot, ?3 now (monotonic), ?4 how many    out: fence, holder, since, until (monotonic)
SELECT fence, holder, since, until_mono FROM windlass_lock
WHERE name = ?1 AND boot = ?2 AND until_mono > ?3 ORDER BY fence LIMIT ?4
