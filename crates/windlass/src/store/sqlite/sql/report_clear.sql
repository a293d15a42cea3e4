-- report_clear.sql: progress of another payload is none.
-- in: ?1 seq    out: nothing
UPDATE windlass_report SET fraction = NULL, message = NULL WHERE seq = ?1
