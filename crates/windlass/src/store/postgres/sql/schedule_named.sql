-- schedule_named.sql: the schedules of one name, whatever their queue.
-- in: $1 the wall clock of a test, or null, $2 name    out: as schedule_list.sql
SELECT clock.now_us, s.queue, s.name, s.revision, s.says FROM (SELECT coalesce($1, windlass.now_micros()) AS now_us) AS clock
LEFT JOIN windlass.schedule AS s ON s.name = $2 ORDER BY s.queue
