-- side_write.sql: what is too big for the hot row.
-- in: ?1 seq, ?2 payload, ?3 extras    out: nothing
INSERT INTO windlass_side (seq, payload, extras) VALUES (?1, ?2, ?3)
ON CONFLICT (seq) DO UPDATE SET payload = excluded.payload, extras = excluded.extras
