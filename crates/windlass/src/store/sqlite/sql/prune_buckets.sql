-- prune_buckets.sql: forgets old minutes.
-- in: ?1 the oldest minute to keep, ?2 how many rows    out: nothing
DELETE FROM windlass_bucket WHERE (minute, line) IN (
    SELECT minute, line FROM windlass_bucket WHERE minute < ?1 LIMIT ?2)
