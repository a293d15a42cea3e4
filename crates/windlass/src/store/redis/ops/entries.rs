//! Entries of schedulers, in Asynq's words: what Go's schedulers say of theirs, and which jobs ours have enqueued.

use prost::Message;
use redis::{Cmd, cmd};
use tracing::debug;

use super::{
    Shared,
    reply::{bytes, list, text},
};
use crate::{
    job::QueueName,
    store::{
        ForeignSchedule, HISTORY_KEPT, Result, ScheduleChange,
        redis::wire::{Moment, SchedulerEntry, SchedulerEvent},
    },
};

/// The most schedulers that are asked, the most entries that are read of each, and of all.
const MOST_SCHEDULERS: usize = 100;
const MOST: usize = 1000;

/// What live schedulers of Go's have registered.
pub(in super::super) async fn of_go(store: &Shared) -> Result<Vec<ForeignSchedule>> {
    let mut index = cmd("ZREVRANGE");
    index.arg(store.plain_key("schedulers")).arg(0).arg(MOST_SCHEDULERS - 1);
    let keys = list(store.link.run(&index).await?)?.into_iter().map(text).collect::<Result<Vec<_>>>()?;
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
}
