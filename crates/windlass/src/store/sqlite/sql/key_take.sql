-- key_take.sql: takes a key for a window.
-- in: ?1 key, ?2 id, ?3 the end of the window    out: nothing
INSERT OR REPLACE INTO windlass_key (key, id, expires_at) VALUES (?1, ?2, ?3)
