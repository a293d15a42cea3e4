-- side_read.sql: the payload and extras of a job with a big one.
-- in: ?1 seq    out: payload, extras
SELECT payload, extras FROM windlass_side WHERE seq = ?1
