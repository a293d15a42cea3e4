-- 0003_reports_down.sql: takes 0003_reports.sql back, with what runs have said.
-- in: nothing    out: nothing
DROP TABLE windlass_log;
DROP TABLE windlass_checkpoint;
DROP TABLE windlass_report;
