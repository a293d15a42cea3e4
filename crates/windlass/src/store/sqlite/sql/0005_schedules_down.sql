-- 0005_schedules_down.sql: takes 0005_schedules.sql back.
-- in: nothing    out: nothing
-- why: the schedules are gone; those that programs declare are there again once such a program starts on new tables
DROP TABLE windlass_schedule_line;
DROP TABLE windlass_schedule;
