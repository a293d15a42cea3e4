-- migration_table.sql: which steps of the schema a store has, and from which schema on a program can go on with it.
-- in: nothing    out: nothing
CREATE TABLE windlass.migration (
    version        integer PRIMARY KEY,
    min_compatible integer NOT NULL,
    at             timestamptz NOT NULL DEFAULT clock_timestamp()
);
