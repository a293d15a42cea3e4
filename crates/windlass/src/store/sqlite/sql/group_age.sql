-- group_age.sql: how many members a group has and when they came in.
-- in: ?1 member_of, ?2 up to how many are counted    out: count, oldest, newest, until when it was asked to be flushed
SELECT (SELECT count(*) FROM (SELECT 1 FROM windlass_job WHERE state = 3 AND member_of = ?1 LIMIT ?2)),
    (SELECT min(pending_at) FROM windlass_job WHERE state = 3 AND member_of = ?1),
    (SELECT max(pending_at) FROM windlass_job WHERE state = 3 AND member_of = ?1),
    (SELECT until FROM windlass_flush WHERE member_of = ?1)
