-- log_read.sql: a job's log.
-- in: ?1 seq    out: number, at, attempt, line; oldest first
SELECT number, at, attempt, line FROM windlass_log WHERE seq = ?1 ORDER BY number
