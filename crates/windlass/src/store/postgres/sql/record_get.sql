-- record_get.sql: one job with everything.
-- in: $1 to $4 the clocks as tick() takes them, $5 id    out: one row or none
SELECT (read.job).*, read.wall, read.mono, read.checkpoint, read.log, read.waits_for
FROM windlass.read_job($1, $2, $3, $4, $5) AS read
