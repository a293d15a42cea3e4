-- job_state.sql: what an operator's action depends on.
-- in: $1 id    out: state, attempt, whether it has a group; no row if there is no such job
SELECT state, attempt, member_of IS NOT NULL AS has_group FROM windlass.job WHERE id = $1
UNION ALL SELECT state, attempt, member_of IS NOT NULL FROM windlass.history WHERE id = $1
