-- claim_last.sql: the last claim of a server.
-- in: ?1 server    out: sequence, lease, or no row
SELECT sequence, lease FROM windlass_claim WHERE server = ?1
