-- job_by_seq.sql: what a change of a job needs to know.
-- in: ?1 seq    out: one row or none
SELECT seq, id, line, state, attempt, failures, crashes, created_at, pending_at, started_at, retention_us, tenant, side,
    cancel, lease, fence, server, unique_key, unique_ttl_us, member_of, exclusive
FROM windlass_job WHERE seq = ?1
