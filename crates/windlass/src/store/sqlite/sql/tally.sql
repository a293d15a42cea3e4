-- tally.sql: the numbers of a job after a run that did not complete it.
-- in: ?1 seq, ?2 failures, ?3 crashes, ?4 snoozes to add, ?5 result or null    out: nothing
UPDATE windlass_job SET failures = ?2, crashes = ?3, snoozes = snoozes + ?4, result = coalesce(?5, result) WHERE seq = ?1
