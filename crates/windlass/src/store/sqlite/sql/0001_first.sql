-- 0001_first.sql: the tables of the store.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration.
-- why: the hot row is narrow, so that a claim rewrites little; big payloads and error histories are apart. Indexes are
-- partial, one to a place that a job can be in, and queries repeat their condition word for word or are not served.
-- States are the codes of State::code(). Times are microseconds: wall clock, or (_mono) the host's monotonic clock.

CREATE TABLE windlass_meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row: numbers that every step may move.
CREATE TABLE windlass_counter (
    one                   INTEGER PRIMARY KEY CHECK (one = 1),
    back                  INTEGER NOT NULL, -- the next place at the end of the line
    front                 INTEGER NOT NULL, -- the next place at the front; falls
    fence                 INTEGER NOT NULL, -- the last fence
    enqueued              INTEGER NOT NULL, -- jobs that ever came in, and the last job's seq
    removed               INTEGER NOT NULL, -- jobs that were removed
    wake                  INTEGER NOT NULL, -- moves when somebody who waits should look
    wish                  INTEGER NOT NULL, -- the last number of the cancel log
    boot                  TEXT    NOT NULL, -- the boot that the next two belong to
    stamped_mono          INTEGER NOT NULL, -- when a server last gave a sign of life
    no_rescue_before_mono INTEGER NOT NULL,
    swept_at              INTEGER           -- when kinds without a server were last looked for
);

-- A queue and a kind, interned, and how many jobs of it are in each state.
CREATE TABLE windlass_line (
    id            INTEGER PRIMARY KEY,
    queue         TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    undeclared_us INTEGER NOT NULL DEFAULT 0, -- time with live servers of which none declared the kind
    pending       INTEGER NOT NULL DEFAULT 0,
    scheduled     INTEGER NOT NULL DEFAULT 0,
    blocked       INTEGER NOT NULL DEFAULT 0,
    aggregating   INTEGER NOT NULL DEFAULT 0,
    running       INTEGER NOT NULL DEFAULT 0,
    retrying      INTEGER NOT NULL DEFAULT 0,
    completed     INTEGER NOT NULL DEFAULT 0,
    dead          INTEGER NOT NULL DEFAULT 0,
    cancelled     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (queue, kind)
);

CREATE TABLE windlass_pause (
    queue TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE windlass_job (
    seq           INTEGER PRIMARY KEY,
    id            NOT NULL,           -- 16 bytes, or the caller's text
    line          INTEGER NOT NULL,
    state         INTEGER NOT NULL,
    priority      INTEGER NOT NULL,
    ord           INTEGER NOT NULL,   -- the place in line; lower first
    suspect       INTEGER NOT NULL DEFAULT 0,
    attempt       INTEGER NOT NULL DEFAULT 0,
    failures      INTEGER NOT NULL DEFAULT 0,
    crashes       INTEGER NOT NULL DEFAULT 0,
    snoozes       INTEGER NOT NULL DEFAULT 0,
    max_retry     INTEGER NOT NULL,
    timeout_us    INTEGER NOT NULL,
    retention_us  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    pending_at    INTEGER,
    run_at        INTEGER,
    started_at    INTEGER,
    completed_at  INTEGER,
    expires_at    INTEGER,
    deadline      INTEGER,
    fence         INTEGER,
    lease         INTEGER,
    server        BLOB,
    side          INTEGER NOT NULL DEFAULT 0, -- whether it has a row in windlass_side
    tenant        TEXT,
    unique_key    BLOB,
    unique_ttl_us INTEGER,            -- none: the key holds until the job is done
    cancel        TEXT,
    reason        TEXT,
    payload       BLOB,               -- none: it is in windlass_side, and so are the extras
    extras        TEXT,               -- tags, headers, group as JSON; none when there are none
    result        BLOB
);

-- What is too big for the hot row.
CREATE TABLE windlass_side (
    seq     INTEGER PRIMARY KEY,
    payload BLOB,
    extras  TEXT,
    errors  TEXT                      -- the error history as JSON
);

CREATE UNIQUE INDEX windlass_job_id ON windlass_job (id);
CREATE UNIQUE INDEX windlass_job_unique ON windlass_job (unique_key)
    WHERE unique_key IS NOT NULL AND unique_ttl_us IS NULL AND state < 6;
CREATE INDEX windlass_job_pending ON windlass_job (line, priority DESC, ord) WHERE state = 0 AND suspect = 0;
CREATE INDEX windlass_job_suspect ON windlass_job (line, priority DESC, ord) WHERE state = 0 AND suspect = 1;
CREATE INDEX windlass_job_running ON windlass_job (lease) WHERE state = 4;
CREATE INDEX windlass_job_due ON windlass_job (run_at) WHERE state IN (1, 5);
CREATE INDEX windlass_job_listed ON windlass_job (state) WHERE state NOT IN (0, 4);
CREATE INDEX windlass_job_ended ON windlass_job (state, completed_at) WHERE state IN (6, 7, 8);
CREATE INDEX windlass_job_expires ON windlass_job (expires_at) WHERE expires_at IS NOT NULL;

-- One lease to a claim, however many jobs it took. A claim's own number is its fence.
CREATE TABLE windlass_lease (
    id         INTEGER PRIMARY KEY,
    server     BLOB    NOT NULL,
    boot       TEXT    NOT NULL,
    until_mono INTEGER NOT NULL
);

-- The last claim of each server: a repeat of it gets the same jobs.
CREATE TABLE windlass_claim (
    server   BLOB PRIMARY KEY,
    sequence INTEGER NOT NULL,
    lease    INTEGER NOT NULL,
    at_mono  INTEGER NOT NULL -- when it was made, or the server left
) WITHOUT ROWID;

-- Unique keys with a window of their own.
CREATE TABLE windlass_key (
    key        BLOB PRIMARY KEY,
    id         NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX windlass_key_expires ON windlass_key (expires_at);

-- Wishes to cancel running jobs, in order.
CREATE TABLE windlass_wish (
    number INTEGER PRIMARY KEY,
    id     NOT NULL,
    fence  INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    at     INTEGER NOT NULL
);

-- What ended in one minute, of one line and of one tenant.
CREATE TABLE windlass_bucket (
    minute      INTEGER NOT NULL,
    line        INTEGER NOT NULL,
    completed   INTEGER NOT NULL,
    retried     INTEGER NOT NULL,
    dead        INTEGER NOT NULL,
    cancelled   INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    wait        BLOB    NOT NULL,
    run         BLOB    NOT NULL,
    PRIMARY KEY (minute, line)
) WITHOUT ROWID;
CREATE TABLE windlass_tenant_bucket (
    minute      INTEGER NOT NULL,
    tenant      TEXT    NOT NULL,
    completed   INTEGER NOT NULL,
    retried     INTEGER NOT NULL,
    dead        INTEGER NOT NULL,
    cancelled   INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    PRIMARY KEY (minute, tenant)
) WITHOUT ROWID;

CREATE TABLE windlass_server (
    id      BLOB PRIMARY KEY,
    seen_at INTEGER NOT NULL,
    body    TEXT    NOT NULL
) WITHOUT ROWID;

-- A job as people look at it.
-- why: what was asked for comes first, in the order in which claims read it too
CREATE VIEW windlass_record AS
SELECT job.id, job.priority, job.max_retry, job.timeout_us, job.retention_us, job.deadline, job.tenant, job.unique_key,
       job.unique_ttl_us, coalesce(job.payload, side.payload) AS payload, coalesce(job.extras, side.extras) AS extras,
       job.seq, line.queue, line.kind, job.state, job.attempt, job.failures, job.crashes, job.snoozes, job.created_at,
       job.updated_at, job.pending_at, job.run_at, job.started_at, job.completed_at, job.fence, job.server, job.cancel,
       job.reason, job.result, side.errors, lease.until_mono
FROM windlass_job AS job
JOIN windlass_line AS line ON line.id = job.line
LEFT JOIN windlass_side AS side ON side.seq = job.seq
LEFT JOIN windlass_lease AS lease ON job.state = 4 AND lease.id = job.lease;
