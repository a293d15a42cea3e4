//! Applies reports, each fenced: only the newest holder of a job may say how its run ended.

use std::{collections::BTreeSet, time::Duration};

use rusqlite::{OptionalExtension, params};

use super::{
    Done, Step,
    change::{Ended, Known, count, find, line_up, note_error, settle, wait_until},
    enqueue::enqueue,
    sql,
};
use crate::{
    job::{Cause, DeadReason, State, Timestamp, Verdict},
    store::{Finish, Finished, sqlite::rows::IdColumn},
};

pub(in super::super) fn finish(step: &mut Step<'_>, batch: &[Finish]) -> Done<Vec<Finished>> {
    let mut leases = BTreeSet::new();
    let mut answers = Vec::with_capacity(batch.len());
    for report in batch {
        let answer = match remove_at_once(step, report, &mut leases)? {
            Some(state) => Finished::Applied(state),
            None => apply(step, report, &mut leases)?,
        };
        if answer != Finished::Stale {
            enqueue(step, &report.then)?;
        }
        answers.push(answer);
    }
    for lease in leases {
        step.conn.prepare_cached(sql!("lease_drop"))?.execute([lease])?;
    }
    Ok(answers)
}

/// The common case in one statement: the job ended well and is not kept.
fn remove_at_once(step: &mut Step<'_>, report: &Finish, leases: &mut BTreeSet<i64>) -> Done<Option<State>> {
    if report.verdict != Verdict::Complete {
        return Ok(None);
    }
    let mut statement = step.conn.prepare_cached(sql!("finish_remove"))?;
    let row = params![IdColumn(&report.lease.id), report.lease.fence.0 as i64];
    let removed = statement.query_row(row, |row| {
        let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
        let tenant: Option<String> = row.get(5)?;
        let seq: i64 = row.get(0)?;
        Ok((seq, row.get::<_, i64>(1)?, time(2)?, time(3)?, time(4)?, tenant, row.get::<_, bool>(6)?, row.get(7)?))
    });
    let Some((seq, line, created, pending, started, tenant, aside, lease)) = removed.optional()? else {
        return Ok(None);
    };
    drop(statement);
    leases.extend::<Option<i64>>(lease);
    if aside {
        step.conn.prepare_cached(sql!("side_remove"))?.execute([seq])?;
    }
    step.wake();
    step.moved(line, Some(State::Running), None);
    let waited = started.unwrap_or(step.clock.now).since(pending.unwrap_or(step.clock.now));
    let lifetime = step.clock.now.since(created.unwrap_or(step.clock.now));
    step.bucket(line).count_run(State::Completed, waited, report.ran, lifetime);
    if let Some(tenant) = tenant {
        step.tenant_bucket(tenant.into()).count_run(State::Completed, waited, report.ran, lifetime);
    }
    Ok(Some(State::Completed))
}

fn apply(step: &mut Step<'_>, report: &Finish, leases: &mut BTreeSet<i64>) -> Done<Finished> {
    let Some(job) = find(step, &report.lease.id)? else { return Ok(Finished::Stale) };
    if job.state != State::Running || job.fence != Some(report.lease.fence.0 as i64) {
        return Ok(Finished::Stale);
    }
    leases.extend(job.lease);
    if let Some(error) = &report.error {
        note_error(step, &job, error.class, &error.message)?;
    }
    let verdict = match (&report.verdict, &job.cancel) {
        (Verdict::RetryIn(_) | Verdict::Snooze(_) | Verdict::Release, Some(reason)) => Verdict::Cancel(reason.clone()),
        (verdict, _) => verdict.clone(),
    };
    tally(step, &job, &verdict, report)?;
    let started = job.started.unwrap_or(step.clock.now);
    let waited = started.since(job.pending.unwrap_or(started));
    let state = follow(step, &job, verdict, Ended { waited, ran: report.ran })?;
    Ok(Finished::Applied(state))
}

/// The numbers that the run moves.
fn tally(step: &Step<'_>, job: &Known, verdict: &Verdict, report: &Finish) -> Done<()> {
    let failed = matches!(verdict, Verdict::RetryIn(_) | Verdict::Bury(DeadReason::Exhausted));
    let snoozed = matches!(verdict, Verdict::Snooze(_));
    if failed || snoozed || report.result.is_some() {
        let failures = job.failures + u32::from(failed);
        let row = params![job.seq, failures, job.crashes, snoozed, report.result.as_deref()];
        step.conn.prepare_cached(sql!("tally"))?.execute(row)?;
    }
    Ok(())
}

/// Puts the job where the verdict sends it.
fn follow(step: &mut Step<'_>, job: &Known, verdict: Verdict, run: Ended) -> Done<State> {
    let later = |step: &Step<'_>, wait: Duration| step.clock.now.after(wait);
    match verdict {
        Verdict::Complete => {
            settle(step, job, State::Completed, Cause::Finish, None, Some(run))?;
            Ok(State::Completed)
        }
        Verdict::RetryIn(wait) => {
            count(step, job, State::Retrying, Some(run));
            let at = later(step, wait);
            wait_until(step, job, State::Retrying, Cause::Finish, at)?;
            Ok(State::Retrying)
        }
        Verdict::Snooze(wait) => {
            let at = later(step, wait);
            wait_until(step, job, State::Scheduled, Cause::Finish, at)?;
            Ok(State::Scheduled)
        }
        Verdict::Release => {
            let suspect = is_suspect(step, job.seq)?;
            line_up(step, job, Cause::Release, true, suspect)?;
            Ok(State::Pending)
        }
        Verdict::Bury(reason) => {
            settle(step, job, State::Dead, Cause::Finish, Some(reason.as_str()), Some(run))?;
            Ok(State::Dead)
        }
        Verdict::Cancel(reason) => {
            settle(step, job, State::Cancelled, Cause::Finish, Some(&reason), Some(run))?;
            Ok(State::Cancelled)
        }
    }
}

pub(super) fn is_suspect(step: &Step<'_>, seq: i64) -> Done<bool> {
    Ok(step.conn.prepare_cached(sql!("suspect"))?.query_row([seq], |row| row.get(0))?)
}
