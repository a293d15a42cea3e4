//! Applies reports, each fenced: only the newest holder of a job may say how its run ended.

use std::{collections::BTreeSet, time::Duration};

use rusqlite::{CachedStatement, OptionalExtension, params};

use super::{
    Done, Step,
    change::{Ended, Known, count, find, line_up, note_error, remove_aside, settle, wait_until},
    enqueue::enqueue,
    report::take_news,
    sql,
};
use crate::{
    decide::verdict::with_wish,
    job::{Cause, DeadReason, State, Timestamp, Verdict},
    store::{Finish, Finished, sqlite::rows::IdColumn},
};

pub(in super::super) fn finish(step: &mut Step<'_>, batch: &[Finish]) -> Done<Vec<Finished>> {
    let conn = step.conn;
    let mut at_once =
        AtOnce { read: conn.prepare_cached(sql!("finish_read"))?, remove: conn.prepare_cached(sql!("remove"))? };
    let mut leases = BTreeSet::new();
    let mut answers = Vec::with_capacity(batch.len());
    for report in batch {
        let answer = match at_once.try_finish(step, report, &mut leases)? {
            Some(state) => Finished::Applied(state),
            None => apply(step, report, &mut leases)?,
        };
        if answer != Finished::Stale {
            enqueue(step, &report.then)?;
        }
        answers.push(answer);
    }
    for lease in leases {
        conn.prepare_cached(sql!("lease_drop"))?.execute([lease])?;
    }
    Ok(answers)
}

/// The common case: the job ended well and is not kept.
struct AtOnce<'c> {
    read: CachedStatement<'c>,
    remove: CachedStatement<'c>,
}

impl AtOnce<'_> {
    fn try_finish(&mut self, step: &mut Step<'_>, report: &Finish, leases: &mut BTreeSet<i64>) -> Done<Option<State>> {
        if report.verdict != Verdict::Complete {
            return Ok(None);
        }
        let now = step.clock.now;
        let row = params![IdColumn(&report.lease.id), report.lease.fence.0 as i64];
        let found = self.read.query_row(row, |row| {
            let time =
                |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
            let started = time(4)?.unwrap_or(now);
            let waited = started.since(time(3)?.unwrap_or(started));
            let lifetime = now.since(time(2)?.unwrap_or(now));
            let tenant: Option<std::sync::Arc<str>> = row.get(5)?;
            let (seq, line): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok((seq, line, waited, lifetime, tenant, row.get::<_, bool>(6)?, row.get::<_, Option<i64>>(7)?))
        });
        let Some((seq, line, waited, lifetime, tenant, aside, lease)) = found.optional()? else { return Ok(None) };
        self.remove.execute([seq])?;
        if aside {
            remove_aside(step, seq)?;
        }
        leases.extend(lease);
        step.wake();
        step.moved(line, Some(State::Running), None);
        step.bucket(line).count_run(State::Completed, waited, report.ran, lifetime);
        if let Some(tenant) = tenant {
            step.tenant_bucket(tenant).count_run(State::Completed, waited, report.ran, lifetime);
        }
        Ok(Some(State::Completed))
    }
}

fn apply(step: &mut Step<'_>, report: &Finish, leases: &mut BTreeSet<i64>) -> Done<Finished> {
    let Some(mut job) = find(step, &report.lease.id)? else { return Ok(Finished::Stale) };
    if job.state != State::Running || job.fence != Some(report.lease.fence.0 as i64) {
        return Ok(Finished::Stale);
    }
    leases.extend(job.lease);
    for news in &report.news {
        take_news(step, &mut job, news)?;
    }
    if let Some(error) = &report.error {
        note_error(step, &mut job, error.class, &error.message)?;
    }
    let verdict = with_wish(report.verdict.clone(), job.cancel.as_ref());
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
