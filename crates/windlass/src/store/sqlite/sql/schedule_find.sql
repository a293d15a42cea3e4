-- schedule_find.sql: one schedule, for a change of it.
-- in: ?1 queue, ?2 name    out: id, revision, lines
SELECT id, revision, lines FROM windlass_schedule WHERE queue = ?1 AND name = ?2
