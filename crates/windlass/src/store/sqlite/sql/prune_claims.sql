-- prune_claims.sql: forgets the last claims of servers that are gone and hold nothing.
-- in: ?1 how many    out: nothing
DELETE FROM windlass_claim WHERE server IN (
    SELECT server FROM windlass_claim AS claim
    WHERE NOT EXISTS (SELECT 1 FROM windlass_server WHERE id = claim.server)
      AND NOT EXISTS (SELECT 1 FROM windlass_lease WHERE id = claim.lease)
    LIMIT ?1)
