-- schedule_remove.sql: takes a schedule away; its history goes by schedule_trim.sql.
-- in: ?1 id    out: nothing
DELETE FROM windlass_schedule WHERE id = ?1
