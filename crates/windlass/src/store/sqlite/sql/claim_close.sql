-- claim_close.sql: a server makes no more claims; one that was delayed on its way gets nothing.
-- in: ?1 server, ?2 the monotonic clock    out: nothing
-- why: the highest number there is lets every other one have passed; prune_claims removes the row soon
INSERT OR REPLACE INTO windlass_claim (server, sequence, lease, at_mono) VALUES (?1, 9223372036854775807, 0, ?2)
