//! Schedules: looking at them, and the step that changes one and enqueues what follows.

use std::sync::Arc;

use tokio_postgres::{Row, types::Type};

use super::{Shared, encode::Columns, enqueue, rows};
use crate::{
    job::{QueueName, Timestamp},
    store::{
        HISTORY_KEPT, Result, Revision, ScheduleChange, ScheduleChanged, ScheduleKey, ScheduleLine, StoredSchedule,
        StoredSchedules,
        postgres::link::{Param, sql},
    },
};

/// The parameters of an enqueue, and seven.
const CHANGE: &str = "SELECT windlass.change_schedule($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
                      $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26) AS revision";

pub(in super::super) async fn change(store: &Shared, change: &ScheduleChange) -> Result<ScheduleChanged> {
    let (wall, columns) = (store.clock.wall(), Columns::new(&change.jobs));
    let from = change.from.map(|from| i64::try_from(from.0).unwrap_or(i64::MAX));
    let to = change.to.as_deref().map(str::as_bytes);
    let lines: Vec<&[u8]> = change.history.iter().map(|line| line.as_bytes()).collect();
    let (queue, name, keep) = (change.key.queue.as_str(), &*change.key.name, HISTORY_KEPT as i64);
    let more: [Param<'_>; 7] = [
        (&columns.exclusives, Type::TEXT_ARRAY),
        (&queue, Type::TEXT),
        (&name, Type::TEXT),
        (&from, Type::INT8),
        (&to, Type::BYTEA),
        (&lines, Type::BYTEA_ARRAY),
        (&keep, Type::INT8),
    ];
    let params: Vec<Param<'_>> = enqueue::params(&wall, &columns).into_iter().chain(more).collect();
    let row = store.link.row(CHANGE, &params).await?;
    Ok(match rows::get::<Option<i64>>(&row, "revision")? {
        None => ScheduleChanged::Conflict,
        Some(0) => ScheduleChanged::Done(None),
        Some(revision) => ScheduleChanged::Done(Some(revision_of(revision))),
    })
}

pub(in super::super) async fn list(store: &Shared, after: Option<&ScheduleKey>, limit: u32) -> Result<StoredSchedules> {
    let (queue, name) = after.map_or(("", ""), |key| (key.queue.as_str(), &*key.name));
    let limit = limit.min(1000) as i32;
    let params: [Param<'_>; 4] =
        [(&store.clock.wall(), Type::INT8), (&queue, Type::TEXT), (&name, Type::TEXT), (&(limit + 1), Type::INT4)];
    let mut page = page(&store.link.rows(sql!("schedule_list"), &params).await?)?;
    if page.items.len() > limit as usize {
        page.items.truncate(limit as usize);
        page.next = page.items.last().map(|last| last.key.clone());
    }
    Ok(page)
}

pub(in super::super) async fn named(store: &Shared, name: &str) -> Result<StoredSchedules> {
    let params: [Param<'_>; 2] = [(&store.clock.wall(), Type::INT8), (&name, Type::TEXT)];
    page(&store.link.rows(sql!("schedule_named"), &params).await?)
}

fn page(found: &[Row]) -> Result<StoredSchedules> {
    let mut page = StoredSchedules::default();
    for row in found {
        page.now = Timestamp::from_micros(rows::get(row, "now_us")?);
        let Some(queue) = rows::get::<Option<&str>>(row, "queue")? else { continue };
        page.items.push(StoredSchedule {
            key: ScheduleKey::new(QueueName::trusted(queue), rows::get::<&str>(row, "name")?),
            revision: revision_of(rows::get(row, "revision")?),
            text: says(row)?,
        });
    }
    Ok(page)
}

pub(in super::super) async fn history(
    store: &Shared,
    key: &ScheduleKey,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<ScheduleLine>> {
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let params: [Param<'_>; 4] = [
        (&key.queue.as_str(), Type::TEXT),
        (&&*key.name, Type::TEXT),
        (&before, Type::INT8),
        (&(limit.min(1000) as i32), Type::INT4),
    ];
    let found = store.link.rows(sql!("schedule_history"), &params).await?;
    let line = |row| {
        let number = u64::try_from(rows::get::<i64>(row, "number")?).unwrap_or(0);
        Ok(ScheduleLine { number, text: says(row)? })
    };
    found.iter().map(line).collect()
}

fn revision_of(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

fn says(row: &Row) -> Result<Arc<str>> {
    std::str::from_utf8(rows::get(row, "says")?).map(Into::into).map_err(|_| rows::odd("a schedule's text"))
}
