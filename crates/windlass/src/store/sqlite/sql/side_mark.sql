-- side_mark.sql: notes that a job has more in other tables.
-- in: ?1 seq    out: nothing
UPDATE windlass_job SET side = 1 WHERE seq = ?1
