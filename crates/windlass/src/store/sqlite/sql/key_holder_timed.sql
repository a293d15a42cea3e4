-- key_holder_timed.sql: the job that took a key with a window that still holds.
-- in: ?1 key, ?2 now    out: id, its state (null when it was removed), or no row
SELECT held.id, (SELECT state FROM windlass_job AS job WHERE job.id = held.id)
FROM windlass_key AS held WHERE held.key = ?1 AND held.expires_at > ?2
