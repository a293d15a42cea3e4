-- log_remove.sql: removes a job's log.
-- in: ?1 seq    out: nothing
DELETE FROM windlass_log WHERE seq = ?1
