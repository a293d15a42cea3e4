-- 0002_groups.sql: jobs that wait in groups.
-- in: nothing    out: nothing
-- guarantee: runs once, in the transaction that also notes it in windlass_migration.
-- why: which group a job belongs to stands in its row, as its queue, the byte 1F (which no name holds) and the group's
-- name: one index finds the groups, their ages and their members, and there are no counts that a program of the first
-- schema would leave wrong. Such a program goes on with the file; only a delayed job of a group that it promotes goes
-- into line alone.

ALTER TABLE windlass_job ADD COLUMN member_of TEXT;
ALTER TABLE windlass_job ADD COLUMN flushed_into; -- an id, as in windlass_job.id

CREATE INDEX windlass_job_group ON windlass_job (member_of, pending_at) WHERE state = 3;

-- Groups that somebody asked to be flushed: for the members that had come in by then.
CREATE TABLE windlass_flush (
    member_of TEXT PRIMARY KEY,
    until     INTEGER NOT NULL
) WITHOUT ROWID;

-- A job as people look at it.
-- why: what was asked for comes first, in the order in which claims read it too
DROP VIEW windlass_record;
CREATE VIEW windlass_record AS
SELECT job.id, job.priority, job.max_retry, job.timeout_us, job.retention_us, job.deadline, job.tenant, job.unique_key,
       job.unique_ttl_us, coalesce(job.payload, side.payload) AS payload, coalesce(job.extras, side.extras) AS extras,
       job.seq, line.queue, line.kind, job.state, job.attempt, job.failures, job.crashes, job.snoozes, job.created_at,
       job.updated_at, job.pending_at, job.run_at, job.started_at, job.completed_at, job.fence, job.server, job.cancel,
       job.reason, job.result, side.errors, lease.until_mono, job.flushed_into
FROM windlass_job AS job
JOIN windlass_line AS line ON line.id = job.line
LEFT JOIN windlass_side AS side ON side.seq = job.seq
LEFT JOIN windlass_lease AS lease ON job.state = 4 AND lease.id = job.lease;
