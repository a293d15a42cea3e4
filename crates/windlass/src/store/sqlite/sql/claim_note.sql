-- claim_note.sql: notes a server's claim, so that a repeat of it gets the same jobs.
-- in: ?1 server, ?2 sequence, ?3 lease    out: nothing
INSERT OR REPLACE INTO windlass_claim (server, sequence, lease) VALUES (?1, ?2, ?3)
