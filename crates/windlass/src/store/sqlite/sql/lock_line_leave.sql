-- lock_line_leave.sql: gives a place in line up.
-- in: ?1 name, ?2 token    out: nothing
DELETE FROM windlass_lock_line WHERE name = ?1 AND token = ?2
