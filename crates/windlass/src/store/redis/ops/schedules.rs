//! Schedules: each stands in its queue's slot, so that one script changes it and brings in what follows. The queues that
//! have some are noted beside Asynq's list of queues, since a queue may have a schedule before it has its first job.

use std::{collections::BTreeSet, sync::Arc};

use redis::{Value, cmd};

use super::{
    Shared, arg, encode,
    enqueue::{in_the_way_elsewhere, register},
    entries::show_events,
    heal::tidy_at_times,
    pack::Pack,
    reply::{list, number, odd, text},
    scripts,
};
use crate::{
    job::{NewJob, QueueName, Timestamp},
    store::{
        HISTORY_KEPT, Result, Revision, ScheduleChange, ScheduleChanged, ScheduleKey, ScheduleLine, StoredSchedule,
        StoredSchedules,
    },
};

/// The most schedules or history lines of one script, and after how many bytes of texts one stops.
const MOST: usize = 500;
const MOST_BYTES: usize = 1 << 20;
/// How many queues are asked for one name in a round trip.
const TOGETHER: usize = 10;

pub(in super::super) async fn change(store: &Arc<Shared>, change: &ScheduleChange) -> Result<ScheduleChanged> {
    let queue = &change.key.queue;
    if change.to.is_some() {
        note(store, queue).await?;
    }
    let elsewhere = in_the_way_elsewhere(store, queue, &change.jobs).await?;
    let jobs = std::iter::zip(&change.jobs, &elsewhere).filter(|(_, other)| other.is_none());
    let jobs: Vec<&NewJob> = jobs.map(|(job, _)| job).collect();
    if !jobs.is_empty() {
        // Nobody is told of a queue for a change that is not made.
        if !store.queues.lock().contains(queue) && version(store, &change.key).await? != change.from {
            return Ok(ScheduleChanged::Conflict);
        }
        register(store, queue).await?;
    }
    let answer = list(store.on(queue, &scripts::CHANGE_SCHEDULE, args(change, &jobs)?).await?)?;
    let [top, revision] = answer.as_slice() else { return Err(odd("a schedule's change")) };
    let (top, revision) = (number(top)?, number(revision)?);
    store.note_top(top);
    if revision < 0 {
        return Ok(ScheduleChanged::Conflict);
    }
    if !jobs.is_empty() {
        store.waker.wake();
        tidy_at_times(store, queue, top, jobs.len());
    }
    show_events(store, change).await;
    Ok(ScheduleChanged::Done(u64::try_from(revision).ok().filter(|revision| *revision > 0).map(Revision)))
}

/// As `change_schedule.lua` takes it. Of more lines than are kept the newest go there.
fn args(change: &ScheduleChange, jobs: &[&NewJob]) -> Result<[Vec<u8>; 7]> {
    let (mut lines, mut packed) = (Pack::default(), Pack::default());
    let said = &change.history[change.history.len().saturating_sub(HISTORY_KEPT)..];
    lines.list(said.len());
    said.iter().for_each(|line| {
        lines.text(&**line);
    });
    packed.list(jobs.len());
    for job in jobs {
        packed.packed(&encode::packed(job)?);
    }
    Ok([
        arg(&change.key.name),
        arg(change.from.map_or(0, |from| from.0)),
        arg(u8::from(change.to.is_some())),
        change.to.as_deref().unwrap_or_default().into(),
        arg(HISTORY_KEPT),
        lines.bytes(),
        packed.bytes(),
    ])
}

/// The name of the set of queues that have schedules, or had some.
fn noted(store: &Shared) -> String {
    format!("{}scheduled", store.store_key())
}

/// Notes that a queue has schedules: before its first one, which nobody would find otherwise.
async fn note(store: &Shared, queue: &QueueName) -> Result<()> {
    if store.scheduled.lock().contains(queue) {
        return Ok(());
    }
    store.link.run(cmd("SADD").arg(noted(store)).arg(queue.as_str())).await?;
    store.scheduled.lock().insert(queue.clone());
    Ok(())
}

/// The queues that have schedules, or had some, by name.
async fn queues(store: &Shared) -> Result<BTreeSet<QueueName>> {
    let found = store.readable(store.link.run(cmd("SMEMBERS").arg(noted(store))).await?)?;
    store.scheduled.lock().clone_from(&found);
    Ok(found)
}

/// What one script tells of a queue's schedules.
struct Stretch {
    now: Timestamp,
    items: Vec<StoredSchedule>,
    /// Where to go on; empty at the end.
    next: String,
}

fn stretch(queue: &QueueName, answer: Value) -> Result<Stretch> {
    let mut answer = list(answer)?.into_iter();
    let (Some(now), Some(next)) = (answer.next(), answer.next()) else { return Err(odd("schedules")) };
    let mut items = Vec::new();
    while let (Some(name), Some(revision), Some(says)) = (answer.next(), answer.next(), answer.next()) {
        items.push(StoredSchedule {
            key: ScheduleKey::new(queue.clone(), text(name)?),
            revision: Revision(u64::try_from(number(&revision)?).unwrap_or(0)),
            text: text(says)?.into(),
        });
    }
    Ok(Stretch { now: Timestamp::from_micros(number(&now)?), items, next: text(next)? })
}

fn look(from: &str, limit: usize) -> [Vec<u8>; 3] {
    [arg(from), arg(limit.min(MOST)), arg(MOST_BYTES)]
}

/// The version of a schedule.
async fn version(store: &Shared, key: &ScheduleKey) -> Result<Option<Revision>> {
    let asked = look(&format!("[{}", key.name), 1);
    let found = stretch(&key.queue, store.on(&key.queue, &scripts::SCHEDULES, asked).await?)?.items;
    Ok(found.into_iter().find(|item| item.key == *key).map(|item| item.revision))
}

/// The wall clock.
async fn wall(store: &Shared) -> Result<Timestamp> {
    // Where nothing is asked for, nothing is found in any queue.
    let nobody = QueueName::trusted("default");
    stretch(&nobody, store.on(&nobody, &scripts::SCHEDULES, look("-", 0)).await?).map(|found| found.now)
}

pub(in super::super) async fn page(store: &Shared, after: Option<&ScheduleKey>, limit: u32) -> Result<StoredSchedules> {
    let limit = limit.min(1000) as usize;
    // Servers look often, mostly at nothing: in one round trip.
    let (now, queues) = tokio::try_join!(wall(store), queues(store))?;
    let mut page = StoredSchedules { now, ..StoredSchedules::default() };
    for queue in queues {
        let from = match after {
            Some(after) if after.queue > queue => continue,
            Some(after) if after.queue == queue => format!("({}", after.name),
            _ => "-".into(),
        };
        if let Err(error) = read_on(store, &queue, from, limit + 1, &mut page).await {
            store.pass_over(&queue, error)?;
        }
        if page.items.len() > limit {
            page.items.truncate(limit);
            page.next = page.items.last().map(|last| last.key.clone());
            break;
        }
    }
    Ok(page)
}

/// Reads schedules of a queue until there are so many on the page.
async fn read_on(
    store: &Shared,
    queue: &QueueName,
    mut from: String,
    many: usize,
    page: &mut StoredSchedules,
) -> Result<()> {
    while !from.is_empty() && page.items.len() < many {
        let asked = look(&from, many - page.items.len());
        let found = stretch(queue, store.on(queue, &scripts::SCHEDULES, asked).await?)?;
        (page.now, from) = (found.now, found.next);
        page.items.extend(found.items);
    }
    Ok(())
}

pub(in super::super) async fn named(store: &Shared, name: &str) -> Result<StoredSchedules> {
    let queues: Vec<_> = queues(store).await?.into_iter().collect();
    let mut all = StoredSchedules { now: wall(store).await?, ..StoredSchedules::default() };
    for (queue, answer) in store.on_all(&scripts::SCHEDULES, &queues, &look(&format!("[{name}"), 1), TOGETHER).await? {
        match answer.and_then(|answer| stretch(&queue, answer)) {
            Ok(found) => {
                all.now = found.now;
                // The first from this name on may be another one.
                all.items.extend(found.items.into_iter().filter(|item| &*item.key.name == name));
            }
            Err(error) => store.pass_over(&queue, error)?,
        }
    }
    Ok(all)
}

pub(in super::super) async fn history(
    store: &Shared,
    key: &ScheduleKey,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<ScheduleLine>> {
    let (mut lines, limit) = (Vec::new(), limit.min(1000) as usize);
    // Numbers begin with 1, and 0 stands for the end.
    let mut before = before.map_or(0, |before| before.max(1));
    while lines.len() < limit {
        let asked = [arg(&key.name), arg(before), arg((limit - lines.len()).min(MOST))];
        let mut answer = list(store.on(&key.queue, &scripts::TICKED, asked).await?)?.into_iter();
        let Some(first) = answer.next() else { break };
        before = u64::try_from(number(&first)?).unwrap_or(0) + 1;
        for line in answer {
            before = before.saturating_sub(1);
            lines.push(ScheduleLine { number: before, text: text(line)?.into() });
        }
        if before <= 1 {
            break;
        }
    }
    Ok(lines)
}
