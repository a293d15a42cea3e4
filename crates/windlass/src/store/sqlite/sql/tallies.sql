-- tallies.sql: the buckets from a minute on.
-- in: ?1 minute    out: the sums, then queue, kind
SELECT bucket.completed, bucket.retried, bucket.dead, bucket.cancelled, bucket.duration_us, bucket.wait, bucket.run,
    line.queue, line.kind
FROM windlass_bucket AS bucket JOIN windlass_line AS line ON line.id = bucket.line WHERE bucket.minute >= ?1
