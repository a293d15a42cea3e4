-- lock_take.sql: a new hold.
-- in: ?1 name, ?2 token, ?3 fence, ?4 slots, ?5 holder, ?6 now (wall), ?7 boot, ?8 until (monotonic)    out: nothing
INSERT INTO windlass_lock (name, token, fence, slots, holder, since, boot, until_mono)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
