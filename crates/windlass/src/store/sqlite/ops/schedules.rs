//! Schedules: looking at them, and the step that changes one and enqueues what follows.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Done, Step, enqueue::enqueue, sql};
use crate::{
    job::QueueName,
    store::{
        HISTORY_KEPT, Revision, ScheduleChange, ScheduleChanged, ScheduleKey, ScheduleLine, StoredSchedule,
        StoredSchedules, sqlite::clock::Clock,
    },
};

pub(in super::super) fn change(step: &mut Step<'_>, change: &ScheduleChange) -> Done<ScheduleChanged> {
    let (queue, name) = (change.key.queue.as_str(), &*change.key.name);
    let found = step
        .conn
        .prepare_cached(sql!("schedule_find"))?
        .query_row([queue, name], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
    let found = found.optional()?;
    if found.map(|(_, revision, _)| Revision(revision as u64)) != change.from {
        return Ok(ScheduleChanged::Conflict);
    }
    enqueue(step, &change.jobs)?;
    let Some(text) = change.to.as_deref() else {
        if let Some((id, _, lines)) = found {
            step.conn.prepare_cached(sql!("schedule_remove"))?.execute([id])?;
            step.conn.prepare_cached(sql!("schedule_trim"))?.execute([id, lines])?;
        }
        return Ok(ScheduleChanged::Done(None));
    };
    // Fences never repeat either.
    let revision = step.next_fence();
    let before = found.map_or(0, |(.., lines)| lines);
    let lines = before + change.history.len() as i64;
    let id = match found {
        Some((id, ..)) => {
            step.conn.prepare_cached(sql!("schedule_change"))?.execute(params![id, revision, lines, text])?;
            id
        }
        None => {
            let row = params![queue, name, revision, lines, text];
            step.conn.prepare_cached(sql!("schedule_add"))?.query_row(row, |row| row.get(0))?
        }
    };
    add_lines(step, id, before, &change.history)?;
    Ok(ScheduleChanged::Done(Some(Revision(revision as u64))))
}

fn add_lines(step: &Step<'_>, id: i64, before: i64, history: &[Arc<str>]) -> Done<()> {
    let mut add = step.conn.prepare_cached(sql!("schedule_line"))?;
    for (number, line) in (before + 1..).zip(history) {
        add.execute(params![id, number, &**line])?;
    }
    let last = before + history.len() as i64 - HISTORY_KEPT as i64;
    if !history.is_empty() && last > 0 {
        step.conn.prepare_cached(sql!("schedule_trim"))?.execute([id, last])?;
    }
    Ok(())
}

pub(in super::super) fn list(
    conn: &Connection,
    clock: &Clock,
    after: Option<&ScheduleKey>,
    limit: u32,
) -> Done<StoredSchedules> {
    let (queue, name) = after.map_or(("", ""), |key| (key.queue.as_str(), &*key.name));
    let limit = limit.min(1000) as usize;
    let mut statement = conn.prepare_cached(sql!("schedule_list"))?;
    let found = statement.query_map(params![queue, name, limit + 1], stored)?;
    let mut items = found.collect::<Result<Vec<_>, _>>()?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| last.key.clone());
    Ok(StoredSchedules { items, next, now: clock.now })
}

pub(in super::super) fn named(conn: &Connection, clock: &Clock, name: &str) -> Done<StoredSchedules> {
    let mut statement = conn.prepare_cached(sql!("schedule_named"))?;
    let items = statement.query_map([name], stored)?.collect::<Result<_, _>>()?;
    Ok(StoredSchedules { items, next: None, now: clock.now })
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredSchedule> {
    let (queue, name) = (row.get::<_, String>(0)?, row.get::<_, String>(1)?);
    Ok(StoredSchedule {
        key: ScheduleKey::new(QueueName::trusted(queue), name),
        revision: Revision(row.get::<_, i64>(2)? as u64),
        text: row.get::<_, String>(3)?.into(),
    })
}

pub(in super::super) fn history(
    conn: &Connection,
    key: &ScheduleKey,
    before: Option<u64>,
    limit: u32,
) -> Done<Vec<ScheduleLine>> {
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(sql!("schedule_history"))?;
    let row = params![key.queue.as_str(), &*key.name, before, limit.min(1000)];
    let lines = statement.query_map(row, |row| {
        Ok(ScheduleLine { number: row.get::<_, i64>(0)? as u64, text: row.get::<_, String>(1)?.into() })
    })?;
    Ok(lines.collect::<Result<_, _>>()?)
}
