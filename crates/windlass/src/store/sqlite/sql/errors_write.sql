-- errors_write.sql: the error history of a job; its payload may be there already.
-- in: ?1 seq, ?2 JSON    out: nothing
INSERT INTO windlass_side (seq, errors) VALUES (?1, ?2) ON CONFLICT (seq) DO UPDATE SET errors = excluded.errors
