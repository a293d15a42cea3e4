-- change_flushed.sql: names the job that a member became a part of.
-- in: ?1 seq, ?2 id    out: nothing
UPDATE windlass_job SET flushed_into = ?2 WHERE seq = ?1
