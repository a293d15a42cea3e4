-- census.sql: the counts of every line.
-- in: nothing    out: id, queue, paused, then the counts by state code, kind, undeclared_us
SELECT line.id, line.queue, pause.queue IS NOT NULL, pending, scheduled, blocked, aggregating, running, retrying,
    completed, dead, cancelled, line.kind, line.undeclared_us
FROM windlass_line AS line LEFT JOIN windlass_pause AS pause ON pause.queue = line.queue ORDER BY line.queue
