-- log_last.sql: the number of the newest line of a job's log.
-- in: ?1 seq    out: number, 0 for none
SELECT coalesce(max(number), 0) FROM windlass_log WHERE seq = ?1
