-- claim_held.sql: the jobs of a claim that its server still holds, in the order in which they run.
-- in: ?1 fence, ?2 server    out: what to run, as claim_take
SELECT id, line, priority, attempt, failures, crashes, snoozes, max_retry, timeout_us, retention_us, created_at,
    pending_at, deadline, side, tenant, unique_key, unique_ttl_us, payload, extras, seq, started_at
FROM windlass_job WHERE state = 4 AND fence = ?1 AND server = ?2 ORDER BY priority DESC, ord
