-- rescue_members.sql: the jobs of a lapsed lease, in the order in which they ran.
-- in: ?1 lease, ?2 how many    out: seq
SELECT seq FROM windlass_job WHERE state = 4 AND lease = ?1 ORDER BY priority DESC, ord LIMIT ?2
