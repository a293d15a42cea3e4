-- due.sql: the jobs that are due.
-- in: ?1 now, ?2 how many    out: seq, line, state; the earliest first
SELECT seq, line, state FROM windlass_job WHERE state IN (1, 5) AND run_at <= ?1 ORDER BY run_at LIMIT ?2
