-- group_ask.sql: asks for the members that are there to be flushed.
-- in: ?1 member_of, ?2 now    out: nothing; no row is changed when there are none
-- why: members that came in by a clock that has been set back since count as there, too
INSERT OR REPLACE INTO windlass_flush (member_of, until)
SELECT ?1, max(?2, max(pending_at)) FROM windlass_job WHERE state = 3 AND member_of = ?1 HAVING count(*) > 0
