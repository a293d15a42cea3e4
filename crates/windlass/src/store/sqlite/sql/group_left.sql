-- group_left.sql: a group without members is gone, and so is the wish to flush it.
-- in: ?1 member_of    out: nothing
DELETE FROM windlass_flush WHERE member_of = ?1
    AND NOT EXISTS (SELECT 1 FROM windlass_job WHERE state = 3 AND member_of = ?1)
