-- report_read.sql: what the runs of a job have said, without the log.
-- in: ?1 seq, ?2 whether the checkpoint is wanted    out: fraction, message, checkpoint, or no row
SELECT report.fraction, report.message, checkpoint.value FROM windlass_report AS report
LEFT JOIN windlass_checkpoint AS checkpoint ON ?2 AND checkpoint.seq = report.seq
WHERE report.seq = ?1
