-- lock_break.sql: takes a lock from all who hold it.
-- in: ?1 name    out: nothing
DELETE FROM windlass_lock WHERE name = ?1
