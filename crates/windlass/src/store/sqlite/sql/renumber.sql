-- renumber.sql: a job in a group has changed: whoever has read it before cannot flush it any more.
-- in: ?1 seq, ?2 its version    out: nothing
UPDATE windlass_job SET ord = ?2 WHERE seq = ?1
