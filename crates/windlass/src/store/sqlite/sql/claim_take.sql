-- claim_take.sql: a pending job becomes the claimer's.
-- in: ?1 seq, ?2 fence (and lease), ?3 server, ?4 now    out: nothing
UPDATE windlass_job SET state = 4, attempt = failures + 1, fence = ?2, lease = ?2, server = ?3, started_at = ?4,
    updated_at = ?4
WHERE seq = ?1 AND state = 0
