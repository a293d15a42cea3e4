-- counters_write.sql: the numbers as a step leaves them.
-- in: all of them    out: nothing    guarantee: runs in the write transaction that read them
UPDATE windlass_counter SET back = ?1, front = ?2, fence = ?3, enqueued = ?4, removed = ?5, wake = ?6, wish = ?7,
    boot = ?8, stamped_mono = ?9, no_rescue_before_mono = ?10, swept_at = ?11
WHERE one = 1
