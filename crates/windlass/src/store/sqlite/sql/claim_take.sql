-- claim_take.sql: a pending job becomes the claimer's.
-- in: ?1 seq, ?2 fence (and lease), ?3 server, ?4 now    out: what to run
-- why: suspect stays, so that the listing shows it; its index holds pending jobs only
UPDATE windlass_job SET state = 4, attempt = failures + 1, fence = ?2, lease = ?2, server = ?3, started_at = ?4,
    updated_at = ?4
WHERE seq = ?1 AND state = 0
RETURNING id, line, priority, attempt, failures, crashes, snoozes, max_retry, timeout_us, retention_us, created_at,
    pending_at, deadline, side, tenant, unique_key, unique_ttl_us, payload, extras, seq
