-- report_last.sql: who said something last of a job, and its number.
-- in: ?1 seq    out: fence, number, or no row
SELECT fence, number FROM windlass_report WHERE seq = ?1
