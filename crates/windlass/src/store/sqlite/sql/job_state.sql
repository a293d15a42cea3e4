-- job_state.sql: where a job is.
-- in: ?1 id    out: state, or no row
SELECT state FROM windlass_job WHERE id = ?1
