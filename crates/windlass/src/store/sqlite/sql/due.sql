-- due.sql: the jobs of one place that are due.
-- in: ?1 place (line * 256 - priority), ?2 now, ?3 how many    out: run_at, seq; the earliest first
SELECT run_at, seq FROM windlass_job WHERE state IN (1, 5) AND line * 256 - priority = ?1 AND run_at <= ?2
ORDER BY run_at, seq LIMIT ?3
