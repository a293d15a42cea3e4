-- claim_note.sql: notes a server's claim, so that a repeat of it gets the same jobs.
-- in: ?1 server, ?2 sequence, ?3 lease, ?4 the monotonic clock    out: nothing
INSERT OR REPLACE INTO windlass_claim (server, sequence, lease, at_mono) VALUES (?1, ?2, ?3, ?4)
