-- counters_read.sql: the numbers that every step may move.
-- in: nothing    out: one row
SELECT back, front, fence, enqueued, removed, wake, wish, boot, stamped_mono, no_rescue_before_mono, swept_at
FROM windlass_counter WHERE one = 1
