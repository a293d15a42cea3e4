-- record_by_seq.sql: one job with everything.
-- in: ?1 seq    out: one row or none
SELECT * FROM windlass_record WHERE seq = ?1
