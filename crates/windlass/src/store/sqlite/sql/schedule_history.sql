-- schedule_history.sql: the newest history lines of a schedule before a number.
-- in: ?1 queue, ?2 name, ?3 before which number, ?4 limit    out: number, text; newest first
SELECT line.number, line.text FROM windlass_schedule AS schedule
JOIN windlass_schedule_line AS line ON line.schedule = schedule.id
WHERE schedule.queue = ?1 AND schedule.name = ?2 AND line.number < ?3
ORDER BY line.number DESC LIMIT ?4
