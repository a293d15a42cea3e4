-- lock.sql: takes the write lock in a transaction that somebody else began.
-- in: nothing    out: nothing
UPDATE windlass_counter SET wake = wake WHERE one = 1
