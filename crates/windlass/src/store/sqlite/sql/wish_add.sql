-- wish_add.sql: a wish to cancel a running job.
-- in: ?1 number, ?2 id, ?3 fence, ?4 reason, ?5 now    out: nothing
INSERT INTO windlass_wish (number, id, fence, reason, at) VALUES (?1, ?2, ?3, ?4, ?5)
