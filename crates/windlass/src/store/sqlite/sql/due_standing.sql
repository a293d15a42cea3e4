-- due_standing.sql: how many jobs of one line and priority stand in line, counted up to a number.
-- in: ?1 line, ?2 priority, ?3 up to how many    out: count
SELECT count(*) FROM (SELECT 1 FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 0 AND priority = ?2 LIMIT ?3)
