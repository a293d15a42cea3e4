-- 0007_locks_down.sql: takes 0007_locks.sql back. What is held is held no longer.
-- in: nothing    out: nothing
DROP TABLE windlass_lock_line;
DROP TABLE windlass_lock;
