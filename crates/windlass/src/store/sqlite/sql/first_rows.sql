-- first_rows.sql: the counters of a new store.
-- in: ?1 boot, ?2 the monotonic clock now    out: nothing
INSERT INTO windlass_counter (one, back, front, fence, enqueued, removed, wake, wish, boot, stamped_mono,
    no_rescue_before_mono)
VALUES (1, 0, -1, 0, 0, 0, 0, 0, ?1, ?2, ?2)
