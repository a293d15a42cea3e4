-- line_count.sql: adds what a step did to the counts of a line.
-- in: ?1 line, ?2..?10 the change by state code    out: nothing
UPDATE windlass_line SET pending = pending + ?2, scheduled = scheduled + ?3, blocked = blocked + ?4,
    aggregating = aggregating + ?5, running = running + ?6, retrying = retrying + ?7, completed = completed + ?8,
    dead = dead + ?9, cancelled = cancelled + ?10
WHERE id = ?1
