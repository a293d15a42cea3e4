-- job_blocked.sql: the job that comes next of those that an exclusive key blocks.
-- in: ?1 the key, as the column has it    out: what a change of it needs to know, as job_find, or no row
SELECT seq, id, line, state, attempt, failures, crashes, created_at, pending_at, started_at, retention_us, tenant, side,
    cancel, lease, fence, server, unique_key, unique_ttl_us, member_of, exclusive
FROM windlass_job WHERE exclusive = ?1 AND exclusive IS NOT NULL AND state = 2 ORDER BY priority DESC, ord LIMIT 1
