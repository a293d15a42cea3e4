-- resume.sql: a queue gives jobs again.
-- in: ?1 queue    out: nothing
DELETE FROM windlass_pause WHERE queue = ?1
