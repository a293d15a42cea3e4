-- group_members.sql: the members of a group that have waited longest.
-- in: ?1 member_of, ?2 how many    out: seq, version; the oldest first
SELECT seq, ord FROM windlass_job WHERE state = 3 AND member_of = ?1 ORDER BY pending_at, seq LIMIT ?2
