-- claim_forget.sql: a server makes no more claims.
-- in: ?1 server    out: nothing
DELETE FROM windlass_claim WHERE server = ?1
