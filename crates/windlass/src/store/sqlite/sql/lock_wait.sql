-- lock_wait.sql: gives a place in line, or keeps it for longer.
-- in: ?1 name, ?2 place, ?3 token, ?4 slots, ?5 boot, ?6 until (monotonic)    out: nothing
-- why: OR REPLACE takes a place of the same attempt away that had lapsed and was not swept yet
INSERT OR REPLACE INTO windlass_lock_line (name, place, token, slots, boot, until_mono) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
