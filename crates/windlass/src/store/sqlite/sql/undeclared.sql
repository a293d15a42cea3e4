-- undeclared.sql: the time in which no live server declared a line's kind.
-- in: ?1 line, ?2 microseconds    out: nothing
UPDATE windlass_line SET undeclared_us = ?2 WHERE id = ?1 AND undeclared_us <> ?2
