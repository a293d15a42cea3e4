-- undeclared_jobs.sql: the pending jobs of a line that came into line long ago.
-- in: ?1 line, ?2 until when, ?3 how many    out: seq
-- why: both parts of the line, each by its own index; the oldest stand in front but for priorities, so a look at the
-- first 10,000 is enough, and a line of a million fresh ones is not walked
SELECT seq FROM (
    SELECT seq, pending_at FROM (
        SELECT seq, pending_at FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 0
        ORDER BY priority DESC, ord LIMIT 10000)
    UNION ALL
    SELECT seq, pending_at FROM (
        SELECT seq, pending_at FROM windlass_job WHERE line = ?1 AND state = 0 AND suspect = 1
        ORDER BY priority DESC, ord LIMIT 10000)
) WHERE pending_at <= ?2 LIMIT ?3
