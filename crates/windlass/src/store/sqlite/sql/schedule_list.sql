-- schedule_list.sql: the schedules past one.
-- in: ?1 queue, ?2 name, ?3 limit    out: queue, name, revision, text
SELECT queue, name, revision, text FROM windlass_schedule WHERE (queue, name) > (?1, ?2) ORDER BY queue, name LIMIT ?3
