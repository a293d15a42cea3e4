//! The steps that every change of a job is made of: into line, into waiting, to its end, out of the store.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Done, Step, sql};
use crate::{
    decide::{exclusive::frees, group::joins, retention::keep},
    job::{Cause, ErrorClass, ErrorEntry, JobId, ServerId, State, Timestamp, UniqueKey},
    store::{
        Bucket,
        sqlite::rows::{IdColumn, duration, errors_json, errors_of, state},
    },
};

/// What a change needs to know of a job.
pub(super) struct Known {
    pub(super) seq: i64,
    pub(super) id: JobId,
    pub(super) line: i64,
    pub(super) state: State,
    pub(super) attempt: u32,
    pub(super) failures: u32,
    pub(super) crashes: u32,
    pub(super) created: Timestamp,
    pub(super) pending: Option<Timestamp>,
    pub(super) started: Option<Timestamp>,
    pub(super) retention: Duration,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) aside: bool,
    pub(super) cancel: Option<Arc<str>>,
    pub(super) lease: Option<i64>,
    pub(super) fence: Option<i64>,
    pub(super) server: Option<ServerId>,
    /// Its key, if it holds until the job is done.
    pub(super) live_key: Option<UniqueKey>,
    /// Its group, in the words of the column.
    pub(super) member_of: Option<String>,
    /// Its exclusive key, in the words of the column.
    pub(super) exclusive: Option<String>,
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
    let ttl: Option<i64> = row.get("unique_ttl_us")?;
    Ok(Known {
        seq: row.get("seq")?,
        id: row.get("id")?,
        line: row.get("line")?,
        state: state(row, "state")?,
        attempt: row.get("attempt")?,
        failures: row.get("failures")?,
        crashes: row.get("crashes")?,
        created: Timestamp::from_micros(row.get("created_at")?),
        pending: time("pending_at")?,
        started: time("started_at")?,
        retention: duration(row.get("retention_us")?),
        tenant: row.get::<_, Option<String>>("tenant")?.map(Into::into),
        aside: row.get("side")?,
        cancel: row.get::<_, Option<String>>("cancel")?.map(Into::into),
        lease: row.get("lease")?,
        fence: row.get("fence")?,
        server: row.get("server")?,
        live_key: row.get::<_, Option<[u8; 16]>>("unique_key")?.filter(|_| ttl.is_none()).map(UniqueKey),
        member_of: row.get("member_of")?,
        exclusive: row.get("exclusive")?,
    })
}

impl Known {
    /// Whether it belongs into its group, not in line.
    pub(super) fn grouped(&self) -> bool {
        joins(self.member_of.is_some(), self.attempt)
    }
}

pub(super) fn find(step: &Step<'_>, id: &JobId) -> Done<Option<Known>> {
    Ok(step.conn.prepare_cached(sql!("job_find"))?.query_row([IdColumn(id)], known).optional()?)
}

pub(super) fn by_seq(step: &Step<'_>, seq: i64) -> Done<Option<Known>> {
    Ok(step.conn.prepare_cached(sql!("job_by_seq"))?.query_row([seq], known).optional()?)
}

/// A run that has ended: how long it stood in line, and how long it ran.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    pub(super) waited: Duration,
    pub(super) ran: Duration,
}

fn moves(step: &mut Step<'_>, job: &Known, to: State, cause: Cause) {
    debug_assert!(job.state.may_become(to, cause), "{} may not become {to} by {cause:?}", job.state);
    step.moved(job.line, Some(job.state), Some(to));
}

/// Stands a job in line.
pub(super) fn line_up(step: &mut Step<'_>, job: &Known, cause: Cause, front: bool, suspect: bool) -> Done<()> {
    moves(step, job, State::Pending, cause);
    let place = step.place(front);
    let row = params![job.seq, place, step.now(), suspect];
    step.conn.prepare_cached(sql!("change_pending"))?.execute(row)?;
    Ok(())
}

/// Stands a job where it belongs that nothing but its exclusive key may keep out of line: at the end of the line, or
/// behind the holder of its key.
pub(super) fn stand(step: &mut Step<'_>, job: &Known, cause: Cause, suspect: bool) -> Done<State> {
    if holder(step.conn, job.exclusive.as_deref())?.is_none() {
        line_up(step, job, cause, false, suspect)?;
        return Ok(State::Pending);
    }
    moves(step, job, State::Blocked, cause);
    let row = params![job.seq, step.place(false), step.now()];
    step.conn.prepare_cached(sql!("change_blocked"))?.execute(row)?;
    Ok(State::Blocked)
}

/// Who holds an exclusive key.
pub(in super::super) fn holder(conn: &Connection, exclusive: Option<&str>) -> Done<Option<JobId>> {
    let Some(key) = exclusive else { return Ok(None) };
    Ok(conn.prepare_cached(sql!("key_holder"))?.query_row([key], |row| row.get(0)).optional()?)
}

/// After a job has left its state for another, or the store: the next of its key comes into line.
pub(super) fn hand_key_on(step: &mut Step<'_>, job: &Known, to: Option<State>) -> Done<()> {
    let Some(key) = job.exclusive.as_deref().filter(|_| frees(job.state, to)) else { return Ok(()) };
    let next = step.conn.prepare_cached(sql!("job_blocked"))?.query_row([key], known).optional()?;
    if let Some(next) = next {
        let suspect = super::finish::is_suspect(step, next.seq)?;
        line_up(step, &next, Cause::Unblock, false, suspect)?;
        step.wake();
    }
    Ok(())
}

/// Puts a job into its group. The place that it takes is its version there.
pub(super) fn join(step: &mut Step<'_>, job: &Known, cause: Cause) -> Done<()> {
    moves(step, job, State::Aggregating, cause);
    let row = params![job.seq, step.place(false), step.now()];
    step.conn.prepare_cached(sql!("change_aggregating"))?.execute(row)?;
    Ok(())
}

/// After a job has left its group: with its last member a group is gone.
pub(super) fn left_group(step: &Step<'_>, member_of: Option<&str>) -> Done<()> {
    if let Some(member_of) = member_of {
        step.conn.prepare_cached(sql!("group_left"))?.execute([member_of])?;
    }
    Ok(())
}

/// Gives a job its time.
pub(super) fn wait_until(step: &mut Step<'_>, job: &Known, to: State, cause: Cause, at: Timestamp) -> Done<()> {
    moves(step, job, to, cause);
    step.wake();
    let row = params![job.seq, to.code(), at.as_micros(), step.now()];
    step.conn.prepare_cached(sql!("change_waiting"))?.execute(row)?;
    hand_key_on(step, job, Some(to))
}

/// Ends a job's life: its numbers are counted, and it is kept for as long as it should be.
pub(super) fn settle(
    step: &mut Step<'_>,
    job: &Known,
    to: State,
    cause: Cause,
    reason: Option<&str>,
    run: Option<Ended>,
) -> Done<()> {
    moves(step, job, to, cause);
    step.wake();
    count(step, job, to, run);
    let keep = keep(to, job.retention, step.keep_failed);
    if keep.is_zero() {
        remove(step, job.seq, job.line, to, job.aside)?;
        return hand_key_on(step, job, None);
    }
    let expires = step.clock.now.after(keep).as_micros();
    let row = params![job.seq, to.code(), reason, step.now(), expires];
    step.conn.prepare_cached(sql!("change_ended"))?.execute(row)?;
    hand_key_on(step, job, Some(to))
}

/// Counts an arrival in the buckets of this minute.
pub(super) fn count(step: &mut Step<'_>, job: &Known, to: State, run: Option<Ended>) {
    let lifetime = step.clock.now.since(job.created);
    let add = |bucket: &mut Bucket| match run {
        Some(run) => bucket.count_run(to, run.waited, run.ran, lifetime),
        None if to == State::Completed => bucket.count_flushed(lifetime),
        None => bucket.count(to),
    };
    add(step.bucket(job.line));
    if let Some(tenant) = &job.tenant {
        add(step.tenant_bucket(tenant.clone()));
    }
}

/// Removes a job that is in this state.
pub(super) fn remove(step: &mut Step<'_>, seq: i64, line: i64, from: State, aside: bool) -> Done<()> {
    step.conn.prepare_cached(sql!("remove"))?.execute([seq])?;
    if aside {
        remove_aside(step, seq)?;
    }
    step.moved(line, Some(from), None);
    Ok(())
}

/// Removes what a job has in other tables.
pub(super) fn remove_aside(step: &Step<'_>, seq: i64) -> Done<()> {
    for sql in [sql!("side_remove"), sql!("report_remove"), sql!("checkpoint_remove"), sql!("log_remove")] {
        step.conn.prepare_cached(sql)?.execute([seq])?;
    }
    Ok(())
}

/// Notes in the job's row that it has more in other tables.
pub(super) fn set_aside(step: &Step<'_>, seq: i64) -> Done<()> {
    step.conn.prepare_cached(sql!("side_mark"))?.execute([seq])?;
    Ok(())
}

/// Adds to a job's error history.
pub(super) fn note_error(step: &Step<'_>, job: &mut Known, class: ErrorClass, message: &str) -> Done<()> {
    let mut statement = step.conn.prepare_cached(sql!("errors_read"))?;
    let json: Option<Option<String>> = statement.query_row([job.seq], |row| row.get(0)).optional()?;
    let mut errors = errors_of(json.flatten().as_deref());
    ErrorEntry::push(&mut errors, ErrorEntry::new(step.clock.now, job.attempt, class, message));
    step.conn.prepare_cached(sql!("errors_write"))?.execute(params![job.seq, errors_json(&errors)])?;
    if !job.aside {
        set_aside(step, job.seq)?;
        job.aside = true;
    }
    Ok(())
}
