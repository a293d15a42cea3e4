-- group_member.sql: which group a job waits in and as what version.
-- in: ?1 id    out: seq, member_of, version; no row if it does not wait in a group
SELECT seq, member_of, ord FROM windlass_job WHERE id = ?1 AND state = 3
