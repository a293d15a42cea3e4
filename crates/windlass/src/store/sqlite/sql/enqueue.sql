-- enqueue.sql: one new job.
-- in: its columns    out: nothing; no row is changed when the id is taken
-- guarantee: the unique index on live keys refuses what the look before it could have missed
INSERT INTO windlass_job (seq, id, line, state, priority, ord, max_retry, timeout_us, retention_us, created_at,
    updated_at, pending_at, run_at, deadline, side, tenant, unique_key, unique_ttl_us, payload, extras, member_of, exclusive)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
ON CONFLICT (id) DO NOTHING
