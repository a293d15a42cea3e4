-- claim_suspect.sql: the first suspect of one line.
-- in: ?1 line    out: pending_at, seq, or no row
SELECT pending_at, seq FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 1
ORDER BY priority DESC, ord LIMIT 1
