//! Entries of schedulers, in Asynq's words: what Go's schedulers say of theirs, and what its tools are shown of our
//! schedules and of the jobs that these have enqueued.

use std::{collections::HashSet, sync::Arc, time::Duration};

use prost::Message;
use redis::{Cmd, Value, cmd};
use tracing::debug;

use super::{
    Shared, arg, cluster,
    reply::{bytes, list, text},
    schedules, scripts,
};
use crate::{
    decide::schedule::record::ScheduleRecord,
    job::{QueueName, Timestamp},
    store::{
        ForeignSchedule, HISTORY_KEPT, Result, ScheduleChange, StoredSchedule,
        redis::wire::{Moment, SchedulerEntry, SchedulerEvent},
    },
};

/// The most schedulers that are asked, the most entries that are read of each, and of all.
const MOST_SCHEDULERS: usize = 100;
const MOST: usize = 1000;

/// Our schedules are shown in so many lists of so many at most, each the list of a scheduler of its own to Go's tools, so
/// that no script is long. Whichever server shows them, they are the same lists, so each schedule is shown once.
const LISTS: usize = 25;
const IN_LIST: u32 = 200;
/// How their names begin.
const OURS: &str = "schedulers:{windlass:0:schedules-";
/// The most bytes of a payload that are shown.
const SHOWN_BYTES: usize = 4096;
/// How long they are shown after a server has said so, and how often one of them does.
const SHOWN_SECONDS: i64 = 30;
const SHOW_EVERY: Duration = Duration::from_secs(10);

/// What live schedulers of Go's have registered.
pub(in super::super) async fn of_go(store: &Shared) -> Result<Vec<ForeignSchedule>> {
    let mut index = cmd("ZREVRANGE");
    index.arg(store.plain_key("schedulers")).arg(0).arg(MOST_SCHEDULERS + LISTS - 1);
    let mut keys = list(store.link.run(&index).await?)?.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    let ours = store.plain_key(OURS);
    keys.retain(|key| !key.starts_with(&ours));
    keys.truncate(MOST_SCHEDULERS);
    // The list of one that is gone goes some seconds later; the index may name it for longer.
    let asked = keys.iter().map(|key| cmd("LRANGE").arg(key).arg(0).arg(MOST - 1).to_owned());
    let prefix = store.plain_key("schedulers:");
    let mut found = Vec::new();
    for (key, entries) in std::iter::zip(&keys, store.link.run_all(asked).await?) {
        let scheduler = key.strip_prefix(&prefix).unwrap_or(key).trim_matches(['{', '}']);
        for entry in list(entries?)? {
            // As Asynq's tools do: what is no entry is passed over.
            let Ok(entry) = SchedulerEntry::decode(&*bytes(entry)?) else { continue };
            found.push(foreign(scheduler, entry));
        }
    }
    found.truncate(MOST);
    found.sort_by(|one, other| (&one.scheduler, &one.id).cmp(&(&other.scheduler, &other.id)));
    Ok(found)
}

fn foreign(scheduler: &str, entry: SchedulerEntry) -> ForeignSchedule {
    ForeignSchedule {
        scheduler: scheduler.to_owned(),
        id: entry.id,
        spec: entry.spec,
        kind: entry.kind,
        queue: queue_of(&entry.options),
        payload: entry.payload,
        next: Moment::at(entry.next),
        last: Moment::at(entry.previous),
    }
}

/// The queue that options name, as Go writes them: `Queue("low")`; without one it is Asynq's own.
fn queue_of(options: &[String]) -> Option<QueueName> {
    let quoted = options.iter().rev().find_map(|option| option.strip_prefix("Queue(")?.strip_suffix(')'));
    let name = match quoted {
        // Go quotes as JSON does, but for letters that no screen shows.
        Some(quoted) => serde_json::from_str::<String>(quoted).ok()?,
        None => "default".to_owned(),
    };
    QueueName::new(name).ok()
}

/// Shows our schedules to Asynq's tools, unless somebody has lately. Part of a server's signs of life, which do not wait
/// for it.
pub(super) fn show_at_times(store: &Arc<Shared>, now: i64) {
    // A server looks at the schedules anyway, so this is known by then. Without any nothing is asked.
    if store.scheduled.lock().is_empty() {
        return;
    }
    let at = store.env.monotonic();
    let mut last = store.entries_shown.lock();
    if last.is_some_and(|then| at.since(then) < SHOW_EVERY) {
        return;
    }
    *last = Some(at);
    let store = store.clone();
    store.env.clone().spawn(async move {
        if let Err(error) = show(&store, now).await {
            debug!(%error, "no schedules for Asynq's tools");
        }
    });
}

/// Of all servers one shows them at a time; when it dies, another does.
fn turn(store: &Shared) -> String {
    format!("{}entries", store.store_key())
}

fn list_key(store: &Shared, number: usize) -> String {
    store.plain_key(&format!("{OURS}{number}}}"))
}

async fn show(store: &Shared, now: i64) -> Result<()> {
    let mut take = cmd("SET");
    take.arg(turn(store)).arg(1).arg("NX").arg("EX").arg(SHOW_EVERY.as_secs() - 1);
    if store.link.run(&take).await? == Value::Nil {
        return Ok(());
    }
    let live = cluster::servers(store, false).await?.live;
    let declared: HashSet<String> = live.into_iter().flat_map(|server| server.schedules).collect();
    let (mut after, mut lists) = (None, 0);
    loop {
        let page = schedules::page(store, after.as_ref(), IN_LIST).await?;
        let entries: Vec<_> = page.items.iter().filter_map(|stored| entry(stored, &declared, page.now)).collect();
        if !entries.is_empty() {
            show_list(store, lists, &entries, now).await?;
            lists += 1;
        }
        after = page.next;
        if after.is_none() || lists == LISTS {
            break;
        }
    }
    // The last server may have left meanwhile, and taken off what stood there by then.
    let nobody = cluster::servers(store, false).await?.live.is_empty();
    take_off(store, if nobody { 0 } else { lists }).await
}

/// Shows a list, and puts it on the index as Go's schedulers do.
async fn show_list(store: &Shared, number: usize, entries: &[SchedulerEntry], now: i64) -> Result<()> {
    let mut args = vec![arg(SHOWN_SECONDS)];
    args.extend(entries.iter().map(Message::encode_to_vec));
    let key = list_key(store, number);
    store.link.eval(&scripts::SHOW_ENTRIES, &key, &args).await?;
    let mut index = cmd("ZADD");
    index.arg(store.plain_key("schedulers")).arg(now / 1_000_000 + SHOWN_SECONDS).arg(key);
    store.link.run(&index).await.map(drop)
}

/// Takes our lists from this one on off the index. Tools read what stands there; the lists go by themselves.
async fn take_off(store: &Shared, from: usize) -> Result<()> {
    if from == LISTS {
        return Ok(());
    }
    let mut index = cmd("ZREM");
    index.arg(store.plain_key("schedulers"));
    (from..LISTS).for_each(|number| _ = index.arg(list_key(store, number)));
    store.link.run(&index).await.map(drop)
}

/// Shows none of our schedules any more: the last server leaves, and nothing ticks until another one comes.
pub(super) async fn hide(store: &Shared) -> Result<()> {
    if store.scheduled.lock().is_empty() {
        return Ok(());
    }
    *store.entries_shown.lock() = None;
    take_off(store, 0).await?;
    store.link.run(cmd("DEL").arg(turn(store))).await.map(drop)
}

/// A schedule that ticks, as an entry; none of one that does not, or that this program cannot read.
fn entry(stored: &StoredSchedule, declared: &HashSet<String>, now: Timestamp) -> Option<SchedulerEntry> {
    let record = ScheduleRecord::read(&stored.text).ok()?;
    let moves = *record.queue() != stored.key.queue;
    let next = record.next(now).filter(|_| !moves && !record.is_orphaned(declared))?;
    let (definition, job) = (&record.definition, &record.definition.job);
    let zone = definition.timezone.as_deref().filter(|_| !definition.spec.contains("TZ="));
    let zone = zone.map(|zone| format!("CRON_TZ={zone} ")).unwrap_or_default();
    Some(SchedulerEntry {
        id: record.name.to_string(),
        spec: format!("{zone}{}", definition.spec),
        kind: job.kind.to_string(),
        payload: if job.payload.len() > SHOWN_BYTES { Default::default() } else { job.payload.clone() },
        options: options(&job.queue, job.max_retry, job.timeout, job.retention),
        next: Some(next.into()),
        previous: Some(record.last.map_or(Moment::NEVER, Moment::from)),
    })
}

/// What a task of Go's would be enqueued with. Its tools read up to the first parenthesis that closes, so a queue with one
/// in its name is left out.
fn options(queue: &QueueName, max_retry: u32, timeout: Duration, retention: Duration) -> Vec<String> {
    let named = (!queue.as_str().contains(')')).then(|| serde_json::to_string(queue.as_str()).ok()).flatten();
    let mut options: Vec<_> = named.map(|name| format!("Queue({name})")).into_iter().collect();
    options.extend([format!("MaxRetry({max_retry})"), format!("Timeout({}s)", timeout.as_secs_f64())]);
    if !retention.is_zero() {
        options.push(format!("Retention({}s)", retention.as_secs_f64()));
    }
    options
}

/// The events of a schedule, as Asynq's tools look for them by the id of its entry, which is its name.
fn events(store: &Shared, name: &str) -> String {
    store.plain_key(&format!("scheduler_history:{name}"))
}

/// Shows Asynq's tools what a change has enqueued. They are for people to look at: what is not written is not repeated.
pub(super) async fn show_events(store: &Shared, change: &ScheduleChange) {
    let (key, now) = (events(store, &change.key.name), store.env.wall());
    let mut commands: Vec<Cmd> = Vec::new();
    if change.to.is_none() {
        commands.push(cmd("DEL").arg(&key).to_owned());
    } else if !change.jobs.is_empty() {
        let mut add = cmd("ZADD");
        add.arg(&key);
        for job in &change.jobs {
            let event = SchedulerEvent { task_id: job.spec.id.to_string(), at: Some(now.into()) };
            add.arg(now.as_micros().div_euclid(1_000_000)).arg(event.encode_to_vec());
        }
        let mut trim = cmd("ZREMRANGEBYRANK");
        trim.arg(&key).arg(0).arg(-1 - i64::try_from(HISTORY_KEPT).unwrap_or(i64::MAX));
        commands.extend([add, trim]);
    }
    match store.link.run_all(commands.into_iter()).await {
        Ok(answers) => {
            for error in answers.into_iter().filter_map(Result::err) {
                debug!(%error, schedule = &*change.key.name, "an event is not shown to Asynq's tools");
            }
        }
        Err(error) => debug!(%error, schedule = &*change.key.name, "events are not shown to Asynq's tools"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_of_an_entry_is_what_its_last_option_says() {
        let queue = |options: &[&str]| queue_of(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>());
        assert_eq!(queue(&["MaxRetry(3)"]).as_ref().map(QueueName::as_str), Some("default"));
        let last = queue(&[r#"Queue("a")"#, r#"Queue("a \"b\"")"#, "MaxRetry(3)"]);
        assert_eq!(last.as_ref().map(QueueName::as_str), Some("a \"b\""));
        assert_eq!(queue(&["Queue(low)"]), None, "Go would not write that");
    }

    #[test]
    fn options_are_as_gos_tools_read_them() {
        let minute = Duration::from_secs(60);
        let of = |queue: &str, retention| options(&QueueName::new(queue).unwrap(), 3, minute / 40, retention);
        assert_eq!(of("a \"b\"", minute), [r#"Queue("a \"b\"")"#, "MaxRetry(3)", "Timeout(1.5s)", "Retention(60s)"]);
        assert_eq!(of("(a)", Duration::ZERO), ["MaxRetry(3)", "Timeout(1.5s)"]);
        assert_eq!(queue_of(&of("a \"b\"", minute)).as_ref().map(QueueName::as_str), Some("a \"b\""));
    }
}
