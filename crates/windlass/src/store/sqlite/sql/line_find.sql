-- line_find.sql: the number of a queue's kind.
-- in: ?1 queue, ?2 kind    out: id, or no row
SELECT id FROM windlass_line WHERE queue = ?1 AND kind = ?2
