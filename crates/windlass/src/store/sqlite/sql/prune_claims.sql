-- prune_claims.sql: forgets the last claims of servers that are gone and hold nothing.
-- in: ?1 claims made until then (monotonic), ?2 how many    out: nothing
-- why: not at once, since a claim of theirs may still be on its way and must find that it was passed by
DELETE FROM windlass_claim WHERE server IN (
    SELECT server FROM windlass_claim AS claim
    WHERE at_mono <= ?1
      AND NOT EXISTS (SELECT 1 FROM windlass_server WHERE id = claim.server)
      AND NOT EXISTS (SELECT 1 FROM windlass_lease WHERE id = claim.lease)
    LIMIT ?2)
