-- lease_lapsed.sql: the leases that have lapsed: over, of another boot, or ending later than any lease can.
-- in: ?1 boot, ?2 now, ?3 the furthest end, ?4 how many    out: ids, oldest first
SELECT id FROM windlass_lease WHERE boot <> ?1 OR until_mono <= ?2 OR until_mono > ?3 ORDER BY id LIMIT ?4
