-- suspect_since.sql: since when the oldest suspects of a line's highest priority below a given one have been pending.
-- in: ?1 line, ?2 the priority above    out: priority, pending_at of the oldest that came to the end of the line, of the
-- oldest that went to its front; or no row
-- why: those that went to the front have places below zero, the newest first
SELECT top.priority,
    (SELECT pending_at FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 1 AND priority = top.priority
        AND ord >= 0 ORDER BY ord LIMIT 1),
    (SELECT pending_at FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 1 AND priority = top.priority
        AND ord < 0 ORDER BY ord DESC LIMIT 1)
FROM (SELECT priority FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 1 AND priority < ?2
    ORDER BY priority DESC LIMIT 1) AS top
