-- older.sql: the jobs of one terminal state that ended long ago.
-- in: ?1 state, ?2 until when, ?3 how many    out: seq, line, state, side
SELECT seq, line, state, side FROM windlass_job WHERE state >= 6 AND state = ?1 AND completed_at <= ?2
ORDER BY completed_at LIMIT ?3
