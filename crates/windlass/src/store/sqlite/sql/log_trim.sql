-- log_trim.sql: lets the oldest lines of a job's log go.
-- in: ?1 seq, ?2 up to which number    out: nothing
DELETE FROM windlass_log WHERE seq = ?1 AND number <= ?2
