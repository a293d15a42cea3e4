-- line_add.sql: a queue's kind that is new.
-- in: ?1 queue, ?2 kind    out: its number
INSERT INTO windlass_line (queue, kind) VALUES (?1, ?2) RETURNING id
