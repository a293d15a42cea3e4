-- head_since.sql: since when the first job of a line below a priority has been pending.
-- in: ?1 line, ?2 the priority above    out: priority, pending_at, or no row
SELECT priority, pending_at FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 0 AND priority < ?2
ORDER BY priority DESC, ord LIMIT 1
