-- paused.sql: the queues that give no jobs.
-- in: nothing    out: names
SELECT queue FROM windlass_pause
