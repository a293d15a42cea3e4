-- pause.sql: a queue gives no jobs.
-- in: ?1 queue    out: nothing
INSERT OR IGNORE INTO windlass_pause (queue) VALUES (?1)
