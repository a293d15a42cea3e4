-- schedule_trim.sql: lets the oldest lines of a schedule's history go.
-- in: ?1 id, ?2 up to which number    out: nothing
DELETE FROM windlass_schedule_line WHERE schedule = ?1 AND number <= ?2
