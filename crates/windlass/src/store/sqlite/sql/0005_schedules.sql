-- 0005_schedules.sql: schedules and what became of their ticks.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration.
-- why: what a schedule says is a text that only programs read, so that a new field needs no new column. Older programs
-- go on with the file, and run the jobs of schedules without knowing that they are.

CREATE TABLE windlass_schedule (
    id       INTEGER PRIMARY KEY,
    queue    TEXT NOT NULL,
    name     TEXT NOT NULL,
    revision INTEGER NOT NULL,
    lines    INTEGER NOT NULL, -- how many lines its history has had
    text     TEXT NOT NULL,
    UNIQUE (queue, name)
);

CREATE INDEX windlass_schedule_name ON windlass_schedule (name);

CREATE TABLE windlass_schedule_line (
    schedule INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (schedule, number)
) WITHOUT ROWID;
