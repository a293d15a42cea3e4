-- log_add.sql: one line of a job's log.
-- in: ?1 seq, ?2 number, ?3 when, ?4 attempt, ?5 text    out: nothing
INSERT INTO windlass_log (seq, number, at, attempt, line) VALUES (?1, ?2, ?3, ?4, ?5)
