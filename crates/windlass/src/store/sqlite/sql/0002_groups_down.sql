-- 0002_groups_down.sql: takes 0002_groups.sql back.
-- in: nothing    out: nothing
-- why: jobs that wait in groups stay as they are; a program of the first schema can cancel or delete them, and nobody
-- flushes them
DROP VIEW windlass_record;
DROP TABLE windlass_flush;
DROP INDEX windlass_job_group;
ALTER TABLE windlass_job DROP COLUMN flushed_into;
ALTER TABLE windlass_job DROP COLUMN member_of;

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
