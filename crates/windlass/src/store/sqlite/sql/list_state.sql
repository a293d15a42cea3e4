-- list_state.sql: the jobs of one state past one, in order of enqueueing.
-- in: ?1 state, ?2 seq, ?3 how many    out: seq
-- why: the first condition is the index's own; without it the index would not serve
SELECT seq FROM windlass_job WHERE state NOT IN (0, 4) AND state = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3
