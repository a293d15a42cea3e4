-- 0003_reports.sql: what the runs of a job say while they go on.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration.
-- why: tables of their own, so that neither a claim nor a step of progress rewrites a checkpoint or a log. A job that
-- has rows here has `side` set, as one with a big payload.

-- The latest progress, and who said something last.
CREATE TABLE windlass_report (
    seq      INTEGER PRIMARY KEY,
    fence    INTEGER NOT NULL, -- the run
    number   INTEGER NOT NULL, -- its last news that was taken
    fraction REAL,
    message  TEXT
);

-- From where a job's next run goes on.
CREATE TABLE windlass_checkpoint (
    seq   INTEGER PRIMARY KEY,
    value BLOB NOT NULL
);

-- The newest lines of a job's log.
CREATE TABLE windlass_log (
    seq     INTEGER NOT NULL,
    number  INTEGER NOT NULL, -- rises by one, from 1
    at      INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    line    TEXT    NOT NULL,
    PRIMARY KEY (seq, number)
) WITHOUT ROWID;
