-- first_rows.sql: what a new store begins with: an id of its own, and a start that is nobody's, so that the first look at the
-- clock takes the present one.
-- in: nothing    out: nothing
INSERT INTO windlass.meta (name, value) VALUES ('store_id', gen_random_uuid()::text);
INSERT INTO windlass.counter (wish) VALUES (0);
INSERT INTO windlass.pulse (last, steady, start, stamped_mono, wait_mono) VALUES (0, 0, '', 0, 0);
-- The id once more, as the comment on the table.
-- why: whoever asks whether a connection is to this very store reads it there, and is told nothing, instead of an error that
-- ends his transaction, where there is no such table
DO $$
BEGIN
    EXECUTE format('COMMENT ON TABLE windlass.meta IS %L', (SELECT value FROM windlass.meta WHERE name = 'store_id'));
END $$;
