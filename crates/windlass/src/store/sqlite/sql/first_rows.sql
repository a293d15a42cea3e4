-- first_rows.sql: what a new store begins with.
-- in: :boot, :mono: the monotonic clock now; :store, an id of its own    out: nothing
INSERT INTO windlass_counter (one, back, front, fence, enqueued, removed, wake, wish, boot, stamped_mono,
    no_rescue_before_mono)
VALUES (1, 0, -1, 0, 0, 0, 0, 0, :boot, :mono, :mono);
INSERT INTO windlass_meta (name, value) VALUES ('store_id', :store);
