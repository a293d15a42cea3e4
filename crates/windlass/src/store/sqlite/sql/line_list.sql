-- line_list.sql: the lines past a number; they are never removed.
-- in: ?1 the last number known    out: id, queue, kind
SELECT id, queue, kind FROM windlass_line WHERE id > ?1 ORDER BY id
