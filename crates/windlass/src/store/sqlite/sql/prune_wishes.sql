-- prune_wishes.sql: forgets old wishes to cancel.
-- in: ?1 the last number that may go, ?2 how many    out: nothing
DELETE FROM windlass_wish WHERE number IN (SELECT number FROM windlass_wish WHERE number <= ?1 ORDER BY number LIMIT ?2)
