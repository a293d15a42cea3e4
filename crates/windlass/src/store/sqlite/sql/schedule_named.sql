-- schedule_named.sql: the schedules of one name, whatever their queue.
-- in: ?1 name    out: queue, name, revision, text
SELECT queue, name, revision, text FROM windlass_schedule WHERE name = ?1 ORDER BY queue
