-- lock_release.sql: gives a hold back.
-- in: ?1 name, ?2 token, ?3 fence, null: whichever    out: nothing
DELETE FROM windlass_lock WHERE name = ?1 AND token = ?2 AND (?3 IS NULL OR fence = ?3)
