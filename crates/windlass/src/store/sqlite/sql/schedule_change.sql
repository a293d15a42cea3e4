-- schedule_change.sql: what a schedule says from now on.
-- in: ?1 id, ?2 revision, ?3 lines of its history, ?4 text    out: nothing
UPDATE windlass_schedule SET revision = ?2, lines = ?3, text = ?4 WHERE id = ?1
