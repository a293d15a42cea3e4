-- prune_work.sql: whether there is anything to prune.
-- in: ?1 now, ?2 the oldest minute, ?3 how many wishes are kept, ?4 the oldest sign of life, ?5 claims that may go,
-- ?6 the boot, ?7 locks that may go    out: 0 or 1
SELECT EXISTS (SELECT 1 FROM windlass_job WHERE expires_at IS NOT NULL AND expires_at <= ?1)
    OR EXISTS (SELECT 1 FROM windlass_key WHERE expires_at <= ?1)
    OR EXISTS (SELECT 1 FROM windlass_bucket WHERE minute < ?2)
    OR EXISTS (SELECT 1 FROM windlass_tenant_bucket WHERE minute < ?2)
    OR EXISTS (SELECT 1 FROM windlass_wish WHERE number <= (SELECT wish FROM windlass_counter WHERE one = 1) - ?3)
    OR EXISTS (SELECT 1 FROM windlass_server WHERE seen_at < ?4)
    OR EXISTS (SELECT 1 FROM windlass_lock WHERE boot <> ?6 OR until_mono <= ?7)
    OR EXISTS (SELECT 1 FROM windlass_lock_line WHERE boot <> ?6 OR until_mono <= ?7)
    OR EXISTS (SELECT 1 FROM windlass_claim AS claim WHERE at_mono <= ?5
      AND NOT EXISTS (SELECT 1 FROM windlass_server WHERE id = claim.server)
      AND NOT EXISTS (SELECT 1 FROM windlass_lease WHERE id = claim.lease))
