-- edit.sql: another payload in the hot row (null: it is in windlass_side).
-- in: ?1 seq, ?2 payload, ?3 side, ?4 now, ?5 extras    out: nothing
UPDATE windlass_job SET payload = ?2, side = ?3, updated_at = ?4, extras = ?5 WHERE seq = ?1
