-- server_beat.sql: a server lives.
-- in: ?1 id, ?2 now, ?3 what it says of itself    out: nothing
INSERT OR REPLACE INTO windlass_server (id, seen_at, body) VALUES (?1, ?2, ?3)
