-- migration_table.sql: which steps of the schema a file has, and from which schema on a program can go on with it.
-- in: nothing    out: nothing
CREATE TABLE windlass_migration (
    version        INTEGER PRIMARY KEY,
    min_compatible INTEGER NOT NULL,
    at             INTEGER NOT NULL
);
