-- census.sql: the counts of every line, of one moment.
-- in: $1 the wall clock of a test, or null    out: rows; one without a queue if there is no line
SELECT line.queue, line.enqueued, line.removed, line.by_state, pause.queue IS NOT NULL AS paused,
    CASE WHEN line.by_state[1] > 0 THEN windlass.oldest_pending(line.id) END AS oldest,
    coalesce($1, windlass.now_micros()) AS now_us
FROM (SELECT 1) AS one
LEFT JOIN windlass.line_count AS line ON true
LEFT JOIN windlass.pause AS pause ON pause.queue = line.queue
