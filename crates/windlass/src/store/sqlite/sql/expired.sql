-- expired.sql: the jobs that retention lets go.
-- in: ?1 now, ?2 how many    out: seq, line, state, side
SELECT seq, line, state, side FROM windlass_job WHERE expires_at IS NOT NULL AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2
