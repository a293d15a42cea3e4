-- schedule_add.sql: a new schedule.
-- in: ?1 queue, ?2 name, ?3 revision, ?4 lines of its history, ?5 text    out: its id
INSERT INTO windlass_schedule (queue, name, revision, lines, text) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id
