-- first_rows.sql: what a new store begins with. Its start is nobody's, so the first look at the clock takes the present one.
-- in: :store, an id of its own    out: nothing
INSERT INTO windlass.meta (name, value) VALUES ('store_id', ':store');
INSERT INTO windlass.counter (wish) VALUES (0);
INSERT INTO windlass.pulse (last, steady, start, stamped_mono, wait_mono) VALUES (0, 0, '', 0, 0);
