-- claim_read.sql: a pending job, as its handler needs it.
-- in: ?1 seq    out: what to run
-- why: two statements and no RETURNING, which would open a table of its own for each job
SELECT id, priority, max_retry, timeout_us, retention_us, deadline, tenant, unique_key, unique_ttl_us, payload, extras,
    line, side, failures, crashes, snoozes, created_at, pending_at, attempt, started_at, seq
FROM windlass_job WHERE seq = ?1 AND state = 0
