-- report_remove.sql: removes a job's progress.
-- in: ?1 seq    out: nothing
DELETE FROM windlass_report WHERE seq = ?1
