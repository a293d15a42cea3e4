-- group_next.sql: the first group with members past one.
-- in: ?1 past which, ?2 before which    out: its member_of, or null
SELECT min(member_of) FROM windlass_job WHERE state = 3 AND member_of > ?1 AND member_of < ?2
