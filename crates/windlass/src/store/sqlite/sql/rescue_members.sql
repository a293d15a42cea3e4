-- rescue_members.sql: the jobs of a lapsed lease, in the order in which they ran, with what they are ordered by.
-- in: ?1 lease, ?2 how many    out: fence, -priority, ord, seq
SELECT fence, -priority, ord, seq FROM windlass_job WHERE state = 4 AND lease = ?1 ORDER BY priority DESC, ord LIMIT ?2
