-- side_remove.sql: removes what was too big for the hot row.
-- in: ?1 seq    out: nothing
DELETE FROM windlass_side WHERE seq = ?1
