-- claim_held.sql: the jobs of a claim that its server still holds, in the order in which they run.
-- in: ?1 fence, ?2 server    out: what to run, as claim_read
SELECT id, priority, max_retry, timeout_us, retention_us, deadline, tenant, unique_key, unique_ttl_us, payload, extras,
    line, side, failures, crashes, snoozes, created_at, pending_at, attempt, started_at, seq
FROM windlass_job WHERE state = 4 AND fence = ?1 AND server = ?2 ORDER BY priority DESC, ord
