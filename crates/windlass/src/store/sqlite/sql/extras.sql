-- extras.sql: the extras of a job, wherever they stand.
-- in: ?1 seq    out: JSON or null
SELECT coalesce(job.extras, side.extras) FROM windlass_job AS job LEFT JOIN windlass_side AS side ON side.seq = job.seq
WHERE job.seq = ?1
