-- lock_standing.sql: what is under a lock's name, for one who asks for it.
-- in: ?1 name, ?2 token, ?3 boot, ?4 now (monotonic)
-- out: own fence or null, live holds, when the first of them lapses, own live place or null and until when, the slots that
-- the others asked for
SELECT (SELECT fence FROM windlass_lock WHERE name = ?1 AND token = ?2),
       (SELECT count(*) FROM windlass_lock WHERE name = ?1 AND boot = ?3 AND until_mono > ?4),
       (SELECT min(until_mono) FROM windlass_lock WHERE name = ?1 AND boot = ?3 AND until_mono > ?4),
       (SELECT place FROM windlass_lock_line WHERE name = ?1 AND token = ?2 AND boot = ?3 AND until_mono > ?4),
       (SELECT until_mono FROM windlass_lock_line WHERE name = ?1 AND token = ?2 AND boot = ?3 AND until_mono > ?4),
       coalesce(
           (SELECT slots FROM windlass_lock WHERE name = ?1 AND boot = ?3 AND until_mono > ?4 LIMIT 1),
           (SELECT slots FROM windlass_lock_line WHERE name = ?1 AND boot = ?3 AND until_mono > ?4 LIMIT 1))
