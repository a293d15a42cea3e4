-- lock_ahead.sql: the live waiters before a place, up to a thousand.
-- in: ?1 name, ?2 boot, ?3 now (monotonic), ?4 the place    out: how many, when the first of them lapses
SELECT count(*), min(until_mono) FROM (
    SELECT until_mono FROM windlass_lock_line
    WHERE name = ?1 AND place < ?4 AND boot = ?2 AND until_mono > ?3 ORDER BY place LIMIT 1000)
