-- undeclared_jobs.sql: the pending jobs of a line that came into line long ago.
-- in: ?1 line, ?2 until when, ?3 how many    out: seq
-- why: both parts of the line, each by its own index; the oldest stand in front but for priorities
SELECT seq FROM (
    SELECT seq FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 0 AND pending_at <= ?2
    UNION ALL
    SELECT seq FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 1 AND pending_at <= ?2
) LIMIT ?3
