-- record_get.sql: one job with everything.
-- in: ?1 id    out: one row or none
SELECT * FROM windlass_record WHERE id = ?1
