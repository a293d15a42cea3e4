-- schedule_line.sql: one more line of a schedule's history.
-- in: ?1 id, ?2 number, ?3 text    out: nothing
INSERT INTO windlass_schedule_line (schedule, number, text) VALUES (?1, ?2, ?3)
