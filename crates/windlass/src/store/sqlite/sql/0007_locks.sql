-- 0007_locks.sql: locks, and who waits for them.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration. Older programs go on: they know of
-- no locks.

-- A slot that somebody holds. At most as many rows under a name as it has slots; one that has lapsed stays until somebody
-- else takes its slot. Times are as in windlass_lease: the host's monotonic clock, of this boot.
CREATE TABLE windlass_lock (
    name       TEXT    NOT NULL,
    token      BLOB    NOT NULL, -- the attempt that took it
    fence      INTEGER NOT NULL,
    slots      INTEGER NOT NULL, -- of all who hold it or wait for it
    holder     TEXT    NOT NULL, -- who, for people
    since      INTEGER NOT NULL, -- the wall clock when it was taken
    boot       TEXT    NOT NULL,
    until_mono INTEGER NOT NULL,
    PRIMARY KEY (name, token)
) WITHOUT ROWID;

-- A place in line. Places are fences: they rise.
CREATE TABLE windlass_lock_line (
    name       TEXT    NOT NULL,
    place      INTEGER NOT NULL,
    token      BLOB    NOT NULL,
    slots      INTEGER NOT NULL,
    boot       TEXT    NOT NULL,
    until_mono INTEGER NOT NULL,
    PRIMARY KEY (name, place)
) WITHOUT ROWID;
CREATE UNIQUE INDEX windlass_lock_line_token ON windlass_lock_line (name, token);
