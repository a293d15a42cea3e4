-- claim_heads.sql: the first jobs of one line, out of its index alone.
-- in: ?1 line, ?2 how many    out: priority, ord, seq in the order in which they run
SELECT priority, ord, seq FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 0
ORDER BY priority DESC, ord LIMIT ?2
