-- 0001_first.sql: the tables of the store.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass.migration.
-- why: `job` holds only what has not ended, so that claims never walk over history. Indexes are partial, one to a place
-- that a job can be in, and queries repeat their condition word for word or are not served. Counts are never a row that
-- everybody moves: each step adds to `ledger`, and sweeps add that up. States are the codes of State::code(). Times are
-- microseconds: the wall clock, or (_mono) the steady clock of tick(). Text is compared by its bytes.

CREATE TABLE windlass.meta (
    name  text PRIMARY KEY,
    value text NOT NULL
);

CREATE SEQUENCE windlass.place; -- numbers of jobs, and places at the end of a line
CREATE SEQUENCE windlass.front; -- places at the front of a line, taken as negative numbers
CREATE SEQUENCE windlass.fence; -- fences and leases; tick() keeps it ahead of the clock

-- One row: the store's clock and its sign of life.
CREATE TABLE windlass.pulse (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    last         bigint NOT NULL, -- the wall clock at the last stamp
    steady       bigint NOT NULL, -- what to add to the wall clock for the steady clock
    start        text   NOT NULL, -- the start of the server that they belong to
    stamped_mono bigint NOT NULL, -- when a server last gave a sign of life
    wait_mono    bigint NOT NULL  -- nobody is rescued before
);

-- One row, which a crash of the server removes.
CREATE UNLOGGED TABLE windlass.boot (
    mark text NOT NULL
);

-- One row: numbers that are rarely moved.
CREATE TABLE windlass.counter (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    wish     bigint NOT NULL, -- the last number of the cancel log
    swept_at bigint           -- when kinds without a server were last looked for
);

-- A queue and a kind, interned, and how many jobs of it are in each state, as far as the ledger is added up.
CREATE TABLE windlass.line (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue         text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL,
    copy          bigint NOT NULL DEFAULT 0, -- there may be several of a queue and kind: see make_lines()
    undeclared_us bigint NOT NULL DEFAULT 0, -- time with live servers of which none declared the kind
    enqueued      bigint NOT NULL DEFAULT 0,
    removed       bigint NOT NULL DEFAULT 0,
    pending       bigint NOT NULL DEFAULT 0,
    scheduled     bigint NOT NULL DEFAULT 0,
    blocked       bigint NOT NULL DEFAULT 0,
    aggregating   bigint NOT NULL DEFAULT 0,
    running       bigint NOT NULL DEFAULT 0,
    retrying      bigint NOT NULL DEFAULT 0,
    completed     bigint NOT NULL DEFAULT 0,
    dead          bigint NOT NULL DEFAULT 0,
    cancelled     bigint NOT NULL DEFAULT 0,
    UNIQUE (queue, kind, copy)
);

CREATE TABLE windlass.pause (
    queue text COLLATE "C" PRIMARY KEY
);

-- Jobs that have not ended.
CREATE TABLE windlass.job (
    seq           bigint   PRIMARY KEY,
    ord           bigint   NOT NULL, -- the place in line, or the version in its group; lower first
    created_at    bigint   NOT NULL,
    updated_at    bigint   NOT NULL,
    pending_at    bigint,
    run_at        bigint,
    started_at    bigint,
    completed_at  bigint,
    expires_at    bigint,
    deadline      bigint,
    timeout_us    bigint   NOT NULL,
    retention_us  bigint   NOT NULL,
    unique_ttl_us bigint,            -- none: the key holds until the job is done
    max_retry     bigint   NOT NULL,
    fence         bigint,
    lease         bigint,
    line          integer  NOT NULL,
    attempt       integer  NOT NULL DEFAULT 0,
    failures      integer  NOT NULL DEFAULT 0,
    crashes       integer  NOT NULL DEFAULT 0,
    snoozes       integer  NOT NULL DEFAULT 0,
    day           integer,           -- its part of `history`, once it has ended
    state         smallint NOT NULL,
    priority      smallint NOT NULL,
    suspect       boolean  NOT NULL DEFAULT false,
    side          boolean  NOT NULL DEFAULT false, -- whether its runs have said something: report, checkpoint, log
    server        uuid,
    id            text COLLATE "C" NOT NULL,
    tenant        text COLLATE "C",
    member_of     text COLLATE "C",  -- its group: the queue, the byte 1F (which no name holds) and the group's name
    exclusive     text COLLATE "C",  -- its exclusive key: the queue, the byte 1F and the key
    flushed_into  text COLLATE "C",
    unique_key    bytea,
    tags          text[],
    headers       text,              -- JSON; as text, since it may hold what jsonb does not
    cancel        text,
    reason        text,
    errors        jsonb,
    payload       bytea    NOT NULL,
    result        bytea
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0, fillfactor = 80);

CREATE UNIQUE INDEX job_id ON windlass.job (id);
CREATE UNIQUE INDEX job_unique ON windlass.job (unique_key) WHERE unique_key IS NOT NULL AND unique_ttl_us IS NULL;
-- The line and the priority as one number, the stretch, so that what stands between two of them is one range.
CREATE INDEX job_pending ON windlass.job ((line * 256::bigint - priority), ord) WHERE state = 0 AND NOT suspect;
CREATE INDEX job_suspect ON windlass.job (line, priority DESC, ord) WHERE state = 0 AND suspect;
CREATE INDEX job_running ON windlass.job (lease) WHERE state = 4;
CREATE INDEX job_due ON windlass.job ((line * 256::bigint - priority), run_at, seq) WHERE state IN (1, 5);
CREATE INDEX job_group ON windlass.job (member_of, pending_at, seq) WHERE state = 3;
CREATE INDEX job_listed ON windlass.job (state, seq) WHERE state IN (1, 2, 3, 5);
-- Who holds an exclusive key, of which there is one, and who is blocked by that one. See exclusive.sql.
CREATE UNIQUE INDEX job_holder ON windlass.job (exclusive) WHERE exclusive IS NOT NULL AND state IN (0, 4);
CREATE INDEX job_blocked ON windlass.job (exclusive, priority DESC, ord) WHERE state = 2;

-- Exclusive keys for which a transaction of a caller's has blocked somebody, or that it has left, until a promotion has
-- looked who is next. Rows are added only, so nobody waits for it.
CREATE TABLE windlass.unsettled (
    exclusive text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Jobs that have ended and are kept for a while. The same columns. What is kept for days stands in a part for the day on
-- which it expires (in days since 1970, UTC), and that part is dropped when the day is over. Part 0 holds the rest, which
-- goes job by job. See days.sql.
-- why: no index that every ended job pays for and few need: completed ones are listed by their numbers
CREATE TABLE windlass.history (LIKE windlass.job INCLUDING DEFAULTS, PRIMARY KEY (seq, day)) PARTITION BY LIST (day);
CREATE INDEX history_id ON windlass.history (id);
CREATE INDEX history_ended ON windlass.history (state, completed_at, seq);
CREATE INDEX history_listed ON windlass.history (state, seq) WHERE state IN (7, 8);
CREATE TABLE windlass.history_0 PARTITION OF windlass.history FOR VALUES IN (0)
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX history_0_expires ON windlass.history_0 (expires_at, seq);

-- The days that have a part of their own.
CREATE TABLE windlass.day (
    day      integer PRIMARY KEY,
    ready    boolean NOT NULL, -- whether jobs may go there
    past     bigint,           -- it was taken out of history, and its jobs up to this one are counted as removed
    tried_at bigint            -- when it could not be taken out, since somebody read it
);

-- Ids that callers chose, of jobs in history: taken for as long as their jobs are kept. See kept.sql.
CREATE TABLE windlass.kept (
    id  text COLLATE "C" PRIMARY KEY,
    seq bigint  NOT NULL,
    day integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- One lease to a claim, however many jobs it took. A claim's own number is its fence.
CREATE TABLE windlass.lease (
    id         bigint PRIMARY KEY,
    server     uuid   NOT NULL,
    until_mono bigint NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0, fillfactor = 50);

-- The last claim of each server: a repeat of it gets the same jobs.
-- why: a row to each claim, sought from its number on. A row that was moved with every claim would be found behind all
-- its dead versions, for as long as somebody's snapshot keeps them.
CREATE TABLE windlass.claim (
    server   uuid   NOT NULL,
    sequence bigint NOT NULL,
    fence    bigint NOT NULL,
    at_mono  bigint NOT NULL, -- when it was made, or the server left
    PRIMARY KEY (server, sequence)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- A slot of a lock that somebody holds. At most as many rows under a name as it has slots; one that has lapsed stays until
-- somebody else takes its slot. See locks.sql.
CREATE TABLE windlass.lock (
    name       text COLLATE "C" NOT NULL,
    token      uuid    NOT NULL, -- the attempt that took it
    fence      bigint  NOT NULL,
    slots      integer NOT NULL, -- of all who hold it or wait for it
    holder     text    NOT NULL, -- who, for people
    since      bigint  NOT NULL,
    ttl        bigint  NOT NULL, -- of the last renewal
    until_mono bigint  NOT NULL,
    start      text    NOT NULL, -- the start of the server that it is of
    PRIMARY KEY (name, token)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0, fillfactor = 50);

-- A place in the line for a lock. Places are fences: they rise.
CREATE TABLE windlass.lock_line (
    name       text COLLATE "C" NOT NULL,
    place      bigint  NOT NULL,
    token      uuid    NOT NULL,
    slots      integer NOT NULL,
    until_mono bigint  NOT NULL,
    PRIMARY KEY (name, place),
    UNIQUE (name, token)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0, fillfactor = 50);

-- Unique keys with a window of their own.
CREATE TABLE windlass.key (
    key        bytea  PRIMARY KEY,
    id         text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX key_expires ON windlass.key (expires_at);

-- Wishes to cancel running jobs, in order.
CREATE TABLE windlass.wish (
    number bigint PRIMARY KEY,
    id     text COLLATE "C" NOT NULL,
    fence  bigint NOT NULL,
    reason text   NOT NULL,
    at     bigint NOT NULL
);

-- Groups that somebody asked to be flushed: for the members that had come in by then.
CREATE TABLE windlass.flush (
    member_of text COLLATE "C" PRIMARY KEY,
    until     bigint NOT NULL
);

-- The latest progress of a job's runs, and who said something last.
CREATE TABLE windlass.report (
    seq      bigint PRIMARY KEY,
    fence    bigint NOT NULL, -- the run
    number   bigint NOT NULL, -- its last news that was taken
    fraction double precision,
    message  text
);

-- From where a job's next run goes on.
CREATE TABLE windlass.checkpoint (
    seq   bigint PRIMARY KEY,
    value bytea  NOT NULL
);

-- The newest lines of a job's log.
CREATE TABLE windlass.log (
    seq     bigint  NOT NULL,
    number  bigint  NOT NULL, -- rises by one, from 1
    at      bigint  NOT NULL,
    attempt integer NOT NULL,
    line    text    NOT NULL,
    PRIMARY KEY (seq, number)
);

-- What steps did, one row a step, line and tenant, until fold() has added it up.
CREATE TABLE windlass.ledger (
    line         integer NOT NULL,
    tenant       text COLLATE "C",
    minute       bigint  NOT NULL,
    enqueued     integer NOT NULL,
    removed      integer NOT NULL,
    pending      integer NOT NULL, -- the changes of the counts of `line`
    scheduled    integer NOT NULL,
    blocked      integer NOT NULL,
    aggregating  integer NOT NULL,
    running      integer NOT NULL,
    retrying     integer NOT NULL,
    completed    integer NOT NULL,
    dead         integer NOT NULL,
    cancelled    integer NOT NULL,
    did_complete integer NOT NULL, -- what ended in this minute
    did_retry    integer NOT NULL,
    did_die      integer NOT NULL,
    did_cancel   integer NOT NULL,
    duration_us  bigint  NOT NULL,
    waits        smallint[],       -- slots of the histogram, one a run
    runs         smallint[]
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- What ended in one minute: of one line, its histograms, and of one tenant.
CREATE TABLE windlass.bucket (
    minute       bigint  NOT NULL,
    line         integer NOT NULL,
    completed    bigint  NOT NULL,
    retried      bigint  NOT NULL,
    dead         bigint  NOT NULL,
    cancelled    bigint  NOT NULL,
    duration_us  bigint  NOT NULL,
    PRIMARY KEY (minute, line)
);
CREATE TABLE windlass.bucket_slot (
    minute bigint   NOT NULL,
    line   integer  NOT NULL,
    ran    boolean  NOT NULL, -- how long runs took; else how long jobs stood in line
    slot   smallint NOT NULL,
    n      bigint   NOT NULL,
    PRIMARY KEY (minute, line, ran, slot)
);
CREATE TABLE windlass.tenant_slot (
    minute bigint   NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    ran    boolean  NOT NULL,
    slot   smallint NOT NULL,
    n      bigint   NOT NULL,
    PRIMARY KEY (minute, tenant, ran, slot)
);
CREATE TABLE windlass.tenant_bucket (
    minute      bigint NOT NULL,
    tenant      text COLLATE "C" NOT NULL,
    completed   bigint NOT NULL,
    retried     bigint NOT NULL,
    dead        bigint NOT NULL,
    cancelled   bigint NOT NULL,
    duration_us bigint NOT NULL,
    PRIMARY KEY (minute, tenant)
);

-- Schedules. What one says is a text that only programs read; as bytes, so that any comes back as it was given.
CREATE TABLE windlass.schedule (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue    text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    lines    bigint NOT NULL, -- how many its history has had
    says     bytea  NOT NULL,
    UNIQUE (queue, name)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0, fillfactor = 50);
CREATE INDEX schedule_name ON windlass.schedule (name);

-- The newest lines of a schedule's history.
CREATE TABLE windlass.schedule_line (
    schedule bigint NOT NULL,
    number   bigint NOT NULL, -- rises by one, from 1
    says     bytea  NOT NULL,
    PRIMARY KEY (schedule, number)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE windlass.server (
    id      uuid   PRIMARY KEY,
    seen_at bigint NOT NULL,
    body    text   NOT NULL
);

-- A job as the library looks at it, wherever it stands.
CREATE VIEW windlass.record AS
SELECT job.seq, job.ord, job.id, line.queue, line.kind, job.priority, job.max_retry, job.timeout_us, job.retention_us,
       job.deadline, job.tenant, job.unique_key, job.unique_ttl_us, job.payload, job.tags, job.headers, job.member_of,
       job.exclusive, job.state, job.attempt, job.failures, job.crashes, job.snoozes, job.created_at, job.updated_at, job.pending_at,
       job.run_at, job.started_at, job.completed_at, job.fence, job.server, job.cancel, job.reason, job.result,
       job.errors::text AS errors, job.flushed_into, job.day, lease.until_mono, report.fraction, report.message
FROM (SELECT * FROM windlass.job UNION ALL SELECT * FROM windlass.history) AS job
JOIN windlass.line AS line ON line.id = job.line
LEFT JOIN windlass.lease AS lease ON job.state = 4 AND lease.id = job.lease
LEFT JOIN windlass.report AS report ON job.side AND report.seq = job.seq;

-- What happened to one job in a step, as book() takes it.
CREATE TYPE windlass.event AS (
    line   integer,
    tenant text,
    was    smallint, -- its state before; none: it came in
    went   smallint, -- its state after; none: it was removed
    ended  smallint, -- the state as which it is counted in the minute; none: it is not
    waited bigint,
    ran    bigint,   -- none: it was no run that ended
    lived  bigint
);
