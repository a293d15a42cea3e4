-- record_page.sql: jobs past one, in order of enqueueing.
-- in: ?1 seq, ?2 how many    out: rows
SELECT * FROM windlass_record WHERE seq > ?1 ORDER BY seq LIMIT ?2
