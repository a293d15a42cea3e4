-- lock_extend.sql: renews a hold, if nobody took it.
-- in: ?1 name, ?2 token, ?3 fence, ?4 boot, ?5 until (monotonic)    out: nothing
UPDATE windlass_lock SET boot = ?4, until_mono = ?5 WHERE name = ?1 AND token = ?2 AND fence = ?3
