-- job_state.sql: what an operator's action depends on.
-- in: $1 id    out: state, attempt, whether it has a group; no row if there is no such job
SELECT state, attempt, has_group FROM windlass.job_state($1)
