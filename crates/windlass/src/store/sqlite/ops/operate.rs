//! What operators do to one job or one queue.

use rusqlite::{OptionalExtension, params};

use super::{
    Done, Step,
    change::{Known, find, hand_key_on, join, left_group, remove, settle, stand, wait_until},
    sql,
};
use crate::{
    decide::{
        entry::moment,
        operate::{Action, Effect, effect},
        unique::needed_again,
    },
    job::{Cause, DeadReason, JobId, QueueName, State, Unique, UniqueMode},
    store::{
        Operated,
        sqlite::rows::{INLINE, IdColumn},
    },
};

pub(in super::super) fn operate(step: &mut Step<'_>, id: &JobId, action: &Action) -> Done<Operated> {
    let Some(job) = find(step, id)? else { return Ok(Operated::NotFound) };
    let left = (job.state == State::Aggregating).then_some(job.member_of.as_deref()).flatten();
    match effect(action, job.state, job.grouped()) {
        Effect::Conflict => return Ok(Operated::Conflict { state: job.state, holder: None }),
        Effect::Remove => {
            remove(step, job.seq, job.line, job.state, job.aside)?;
            hand_key_on(step, &job, None)?;
            left_group(step, left)?;
            step.wake();
            return Ok(Operated::Removed);
        }
        Effect::Edit => edit(step, &job, action)?,
        Effect::AskToCancel => wish(step, &job, action)?,
        Effect::Become(to) => {
            if let Some(holder) = key_holder(step, &job, to)? {
                return Ok(Operated::Conflict { state: job.state, holder: Some(holder) });
            }
            let to = change(step, &job, to, action)?;
            left_group(step, left)?;
            return Ok(if step.keep_failed.is_zero() && to.is_terminal() {
                Operated::Removed
            } else {
                Operated::Done(to)
            });
        }
    }
    Ok(Operated::Done(job.state))
}

/// Gives a job its new state; answers the one that it has then.
fn change(step: &mut Step<'_>, job: &Known, to: State, action: &Action) -> Done<State> {
    match action {
        Action::Cancel { reason } => settle(step, job, to, Cause::Operate, Some(reason), None)?,
        Action::Bury => settle(step, job, to, Cause::Operate, Some(DeadReason::Buried.as_str()), None)?,
        Action::Redrive => {
            step.conn.prepare_cached(sql!("reset"))?.execute([job.seq])?;
            if to != State::Aggregating {
                return stand(step, job, Cause::Operate, false);
            }
            join(step, job, Cause::Operate)?;
        }
        Action::Reschedule { start } => {
            let at = moment(*start, step.clock.now);
            wait_until(step, job, to, Cause::Operate, at)?;
        }
        _ => {
            let suspect = super::finish::is_suspect(step, job.seq)?;
            return stand(step, job, Cause::Operate, suspect);
        }
    }
    Ok(to)
}

/// Who holds the unique key of a job that would come back to life.
fn key_holder(step: &Step<'_>, job: &Known, to: State) -> Done<Option<JobId>> {
    let unique = job.live_key.map(|key| Unique { key, mode: UniqueMode::UntilDone });
    let Some(key) = needed_again(unique, job.state, to) else { return Ok(None) };
    let mut statement = step.conn.prepare_cached(sql!("key_holder_live"))?;
    Ok(statement.query_row([&key.0[..]], |row| row.get(0)).optional()?)
}

fn edit(step: &mut Step<'_>, job: &Known, action: &Action) -> Done<()> {
    let Action::Edit { payload } = action else { return Ok(()) };
    let mut statement = step.conn.prepare_cached(sql!("extras"))?;
    let extras: Option<String> = statement.query_row([job.seq], |row| row.get(0))?;
    drop(statement);
    let aside = payload.len() + extras.as_ref().map_or(0, String::len) > INLINE;
    let now = step.now();
    if job.aside {
        // They belong to the payload that was.
        step.conn.prepare_cached(sql!("report_clear"))?.execute([job.seq])?;
        step.conn.prepare_cached(sql!("checkpoint_remove"))?.execute([job.seq])?;
    }
    if aside {
        step.conn.prepare_cached(sql!("side_write"))?.execute(params![job.seq, &payload[..], extras])?;
        step.conn.prepare_cached(sql!("edit"))?.execute(params![job.seq, None::<&[u8]>, true, now, None::<&str>])?;
    } else {
        if job.aside {
            let none = None::<&[u8]>;
            step.conn.prepare_cached(sql!("side_write"))?.execute(params![job.seq, none, None::<&str>])?;
        }
        step.conn.prepare_cached(sql!("edit"))?.execute(params![job.seq, &payload[..], job.aside, now, extras])?;
    }
    if job.state == State::Aggregating {
        let version = step.place(false);
        step.conn.prepare_cached(sql!("renumber"))?.execute([job.seq, version])?;
    }
    Ok(())
}

/// A running job is told to stop: its server reads it in the log.
fn wish(step: &mut Step<'_>, job: &Known, action: &Action) -> Done<()> {
    let Action::Cancel { reason } = action else { return Ok(()) };
    step.conn.prepare_cached(sql!("set_cancel"))?.execute(params![job.seq, &**reason])?;
    step.counters.wish += 1;
    step.wake();
    let row = params![step.counters.wish, IdColumn(&job.id), job.fence, &**reason, step.now()];
    step.conn.prepare_cached(sql!("wish_add"))?.execute(row)?;
    Ok(())
}

pub(in super::super) fn pause(step: &mut Step<'_>, queue: &QueueName, paused: bool) -> Done<bool> {
    let known = step.conn.prepare_cached(sql!("queue_known"))?.exists([queue.as_str()])?;
    if known {
        let change = if paused { sql!("pause") } else { sql!("resume") };
        step.conn.prepare_cached(change)?.execute([queue.as_str()])?;
        step.wake();
    }
    Ok(known)
}
