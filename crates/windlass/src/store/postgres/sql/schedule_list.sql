-- schedule_list.sql: the schedules past one.
-- in: $1 the wall clock of a test, or null, $2 queue, $3 name, $4 limit
-- out: now_us in each row, and queue, name, revision, says; one row without a schedule if there is none
SELECT clock.now_us, s.* FROM (SELECT coalesce($1, windlass.now_micros()) AS now_us) AS clock
LEFT JOIN LATERAL (
    SELECT queue, name, revision, says FROM windlass.schedule WHERE (queue, name) > ($2, $3) ORDER BY queue, name LIMIT $4
) AS s ON true ORDER BY s.queue, s.name
