-- prune_wishes.sql: forgets old wishes to cancel.
-- in: ?1 the oldest to keep, ?2 how many    out: nothing
DELETE FROM windlass_wish WHERE number IN (SELECT number FROM windlass_wish WHERE at < ?1 ORDER BY number LIMIT ?2)
