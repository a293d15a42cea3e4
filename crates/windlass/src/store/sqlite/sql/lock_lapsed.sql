-- lock_lapsed.sql: makes room for one more holder, at the cost of what lapsed first.
-- in: ?1 name, ?2 boot, ?3 now (monotonic), ?4 slots    out: nothing
-- why: holds with another number of slots have lapsed, or it had been refused; all that are there have the same
DELETE FROM windlass_lock WHERE name = ?1 AND (slots <> ?4 OR token IN (
    SELECT token FROM windlass_lock WHERE name = ?1 AND (boot <> ?2 OR until_mono <= ?3)
    ORDER BY boot = ?2, until_mono
    LIMIT max(0, (SELECT count(*) FROM windlass_lock WHERE name = ?1) - ?4 + 1)))
