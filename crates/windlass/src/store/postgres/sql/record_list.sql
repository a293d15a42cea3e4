-- record_list.sql: jobs by their numbers, in order of enqueueing.
-- in: $1 numbers    out: rows
SELECT * FROM windlass.record WHERE seq = ANY ($1) ORDER BY seq
