-- report_write.sql: what a run says; progress that it leaves out stays.
-- in: ?1 seq, ?2 fence, ?3 number, ?4 fraction or null, ?5 message    out: nothing
INSERT INTO windlass_report (seq, fence, number, fraction, message) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (seq) DO UPDATE SET fence = ?2, number = ?3, fraction = coalesce(?4, fraction),
    message = CASE WHEN ?4 IS NULL THEN message ELSE ?5 END
