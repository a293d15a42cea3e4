-- checkpoint_remove.sql: the job's next run begins at its beginning.
-- in: ?1 seq    out: nothing
DELETE FROM windlass_checkpoint WHERE seq = ?1
