//! Makes jobs durable, one by one in their order.

use rusqlite::{CachedStatement, OptionalExtension, params};

use super::{Done, Step, change::holder, sql};
use crate::{
    decide::entry::{first_state, moment},
    job::{JobId, NewJob, State, UniqueMode, micros},
    store::{
        Enqueued,
        sqlite::rows::{INLINE, IdColumn, extras, member_of},
    },
};

pub(in super::super) fn enqueue(step: &mut Step<'_>, jobs: &[NewJob]) -> Done<Vec<Enqueued>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let conn = step.conn;
    let mut insert = conn.prepare_cached(sql!("enqueue"))?;
    jobs.iter().map(|job| enqueue_one(step, &mut insert, job)).collect()
}

fn enqueue_one(step: &mut Step<'_>, insert: &mut CachedStatement<'_>, new: &NewJob) -> Done<Enqueued> {
    let spec = &*new.spec;
    if spec.unique.is_some()
        && let Some(duplicate) = duplicate_of(step, new)?
    {
        return Ok(duplicate);
    }
    let now = step.now();
    let run_at = moment(new.start, step.clock.now);
    let mut state = first_state(run_at, step.clock.now, spec.group.is_some());
    let exclusive = spec.exclusive.as_deref().map(|key| member_of(&spec.queue, key));
    if state == State::Pending && holder(step.conn, exclusive.as_deref())?.is_some() {
        state = State::Blocked;
    }
    let line = match step.lines.find(step.conn, &spec.queue, &spec.kind)? {
        Some(line) => line,
        // A duplicate makes no queue.
        None if state_of(step, &spec.id)?.is_some() => return taken(step, &spec.id),
        None => step.lines.add(step.conn, &spec.queue, &spec.kind)?,
    };
    let seq = step.counters.enqueued + 1;
    let ord = step.place(false);
    let extras = extras(spec);
    let aside = spec.payload.len() + extras.as_ref().map_or(0, String::len) > INLINE;
    let waits_for_time = state == State::Scheduled;
    let added = insert.execute(params![
        seq,
        IdColumn(&spec.id),
        line,
        state.code(),
        spec.priority,
        ord,
        spec.max_retry,
        micros(spec.timeout),
        micros(spec.retention),
        now,
        (!waits_for_time).then_some(now),
        waits_for_time.then_some(run_at.as_micros()),
        spec.deadline.map(|deadline| deadline.as_micros()),
        aside,
        spec.tenant.as_deref(),
        spec.unique.as_ref().map(|unique| &unique.key.0[..]),
        spec.unique.and_then(|unique| match unique.mode {
            UniqueMode::Idempotency { ttl } => Some(micros(ttl)),
            UniqueMode::UntilDone => None,
        }),
        (!aside).then_some(&spec.payload[..]),
        extras.as_deref().filter(|_| !aside),
        spec.group.as_deref().map(|group| member_of(&spec.queue, group)),
        exclusive,
    ])?;
    if added == 0 {
        return taken(step, &spec.id);
    }
    if aside {
        step.conn.prepare_cached(sql!("side_write"))?.execute(params![seq, &spec.payload[..], extras])?;
    }
    step.moved(line, None, Some(state));
    take_timed_key(step, new)?;
    Ok(Enqueued::New(spec.id.clone()))
}

fn taken(step: &Step<'_>, id: &JobId) -> Done<Enqueued> {
    let state = state_of(step, id)?;
    Ok(Enqueued::Duplicate(id.clone(), state))
}

fn state_of(step: &Step<'_>, id: &JobId) -> Done<Option<State>> {
    let mut statement = step.conn.prepare_cached(sql!("job_state"))?;
    let code: Option<u8> = statement.query_row([IdColumn(id)], |row| row.get(0)).optional()?;
    Ok(code.and_then(State::from_code))
}

/// The job that has the id or the key already. An enqueue only asks for unique jobs: an id alone is refused by its index.
pub(super) fn duplicate_of(step: &Step<'_>, new: &NewJob) -> Done<Option<Enqueued>> {
    let spec = &*new.spec;
    if state_of(step, &spec.id)?.is_some() {
        return taken(step, &spec.id).map(Some);
    }
    let Some(unique) = spec.unique else { return Ok(None) };
    let found: Option<(JobId, Option<u8>)> = match unique.mode {
        UniqueMode::UntilDone => {
            let mut statement = step.conn.prepare_cached(sql!("key_holder_live"))?;
            statement.query_row([&unique.key.0[..]], |row| Ok((row.get(0)?, row.get(1)?))).optional()?
        }
        UniqueMode::Idempotency { .. } => {
            let mut statement = step.conn.prepare_cached(sql!("key_holder_timed"))?;
            let key = params![&unique.key.0[..], step.now()];
            statement.query_row(key, |row| Ok((row.get(0)?, row.get(1)?))).optional()?
        }
    };
    Ok(found.map(|(id, code)| Enqueued::Duplicate(id, code.and_then(State::from_code))))
}

fn take_timed_key(step: &Step<'_>, new: &NewJob) -> Done<()> {
    if let Some(unique) = new.spec.unique
        && let UniqueMode::Idempotency { ttl } = unique.mode
    {
        let until = step.clock.now.after(ttl).as_micros();
        let row = params![&unique.key.0[..], IdColumn(&new.spec.id), until];
        step.conn.prepare_cached(sql!("key_take"))?.execute(row)?;
    }
    Ok(())
}
