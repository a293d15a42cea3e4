//! What people see of schedules and do with them.

use std::{collections::HashSet, sync::Arc};

use serde::{Serialize, ser::SerializeMap};
use tracing::warn;

use super::{Client, schedule::Schedule, ticking::Read};
use crate::{
    decide::schedule::record::{ScheduleEvent, ScheduleNews, ScheduleOrigin, ScheduleRecord},
    error::Error,
    job::{JobId, Timestamp},
    store::{ForeignSchedule, ScheduleChange, ScheduleChanged, ScheduleKey},
};

/// A schedule as people look at it. Serializes as the document of `windlass schedule list`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// What the store keeps of it.
    pub record: ScheduleRecord,
    /// Its next tick; none while it is paused, or when there is none any more.
    pub next: Option<Timestamp>,
    /// It is declared in code or configuration, and no live server does so: it does not tick. Start such a server, or
    /// remove the schedule.
    pub orphaned: bool,
    /// Whether a server lives that lets it tick.
    pub attended: bool,
}

/// Some of the schedules.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SchedulePage {
    /// By queue and name.
    pub items: Vec<ScheduleInfo>,
    /// Schedules that a newer program has written and this one cannot read.
    pub unreadable: Vec<ScheduleKey>,
    /// Where to go on; none at the end.
    pub next: Option<ScheduleKey>,
    /// The store's wall clock, by which schedules tick.
    pub now: Timestamp,
}

/// A page of a schedule's history.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ScheduleHistory {
    /// Newest first.
    pub items: Vec<ScheduleEvent>,
    /// Where to go on; none at the end.
    pub next: Option<u64>,
}

/// The servers that live.
struct Living {
    any: bool,
    /// What they declare.
    schedules: HashSet<String>,
}

impl ScheduleInfo {
    fn new(record: ScheduleRecord, living: &Living, now: Timestamp) -> Self {
        let orphaned = record.is_orphaned(&living.schedules);
        Self { next: record.next(now), orphaned, attended: living.any && !orphaned, record }
    }

    /// The zone whose clock it goes by: a zone in the spec goes before the one that was given beside it.
    pub fn zone(&self) -> Arc<str> {
        let given = || self.record.definition.timezone.clone().unwrap_or_else(|| "UTC".into());
        self.record.rule().map_or_else(|_| given(), |rule| rule.zone().into())
    }
}

impl Client {
    /// What schedulers that are none of ours have registered, as they last said: on Redis the entries of Go's Asynq, at
    /// most 1,000. Here they can be looked at, and are changed only there. Other stores have none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> anyhow::Result<()> {
    /// let client = windlass::Client::open("memory:").await?;
    /// for entry in client.foreign_schedules().await? {
    ///     println!("{} ticks `{}` by {}", entry.kind, entry.spec, entry.scheduler);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the store is away.
    pub async fn foreign_schedules(&self) -> Result<Vec<ForeignSchedule>, Error> {
        Ok(self.store().foreign_schedules().await?)
    }

    /// A page of at most `limit` (and at most 1,000) schedules, by queue and name; go on with the page's `next`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn schedules(&self, after: Option<&ScheduleKey>, limit: u32) -> Result<SchedulePage, Error> {
        let found = self.store().schedules(after.cloned(), limit).await?;
        let living = self.living().await?;
        let mut page = SchedulePage { next: found.next, now: found.now, ..SchedulePage::default() };
        for stored in &found.items {
            match Read::of(stored) {
                Ok(read) if read.moves() => {}
                Ok(read) => page.items.push(ScheduleInfo::new(read.record, &living, page.now)),
                Err(problem) => {
                    warn!(schedule = &*stored.key.name, problem, "a schedule cannot be read; a newer program wrote it");
                    page.unreadable.push(stored.key.clone());
                }
            }
        }
        Ok(page)
    }

    async fn living(&self) -> Result<Living, Error> {
        let servers = self.store().servers().await?;
        let any = !servers.is_empty();
        Ok(Living { any, schedules: servers.into_iter().flat_map(|server| server.schedules).collect() })
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`Error::NoSchedule`] when there is none of this name.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleInfo, Error> {
        let (found, now) = self.read_schedule(name).await?;
        let read = found.ok_or_else(|| Error::NoSchedule(name.into()))?;
        Ok(ScheduleInfo::new(read.record, &self.living().await?, now))
    }

    /// Adds a schedule that any live server lets tick, or changes the one of this name. Ticks up to now are those of the
    /// old rule; there is none of a new rule before now.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), windlass::Error> {
    /// use windlass::{Client, RawJob, Schedule};
    /// let client = Client::open("memory:").await?;
    /// let nightly = Schedule::cron("clean-up", "30 2 * * *").timezone("Europe/Berlin").job(RawJob::new("clean-up", "{}"));
    /// let added = client.add_schedule(nightly).await?;
    /// println!("first at {}", added.next.expect("there is a next night"));
    ///
    /// let job = client.run_schedule_now("clean-up").await?; // beside its ticks
    /// assert!(client.inspect(&job).await?.spec.headers.contains_key("windlass-schedule"));
    /// client.remove_schedule("clean-up").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for what is wrong with it, with its field; [`Error::ScheduleDeclared`] when code or a
    /// configuration file declares one of this name: change it there.
    pub async fn add_schedule(&self, schedule: Schedule) -> Result<ScheduleInfo, Error> {
        let mut declared = schedule.resolve(self)?;
        declared.origin = ScheduleOrigin::Stored;
        self.declare(&declared).await?;
        self.schedule(&declared.name).await
    }

    /// Removes a schedule with its history; its jobs stay. One that code or a configuration file declares is there again
    /// once such a server starts.
    ///
    /// # Errors
    /// [`Error::NoSchedule`] when there is none of this name.
    pub async fn remove_schedule(&self, name: &str) -> Result<(), Error> {
        let mut removed = false;
        loop {
            let found = self.store().schedules_named(name).await?.items;
            if found.is_empty() {
                return if removed { Ok(()) } else { Err(Error::NoSchedule(name.into())) };
            }
            for stored in found {
                let from = Some(stored.revision);
                let change = ScheduleChange { key: stored.key, from, to: None, jobs: Vec::new(), history: Vec::new() };
                removed |= self.store().change_schedule(&change).await? == ScheduleChanged::Done(None);
            }
        }
    }

    /// Lets a schedule leave its ticks out until it is resumed; they are counted. A restart does not resume it. False: it
    /// was paused already.
    ///
    /// # Errors
    /// [`Error::NoSchedule`] when there is none of this name.
    pub async fn pause_schedule(&self, name: &str) -> Result<bool, Error> {
        self.set_paused(name, true).await
    }

    /// Lets a paused schedule go on with its next tick: what was left out is not made up for. False: it was not paused.
    ///
    /// # Errors
    /// [`Error::NoSchedule`] when there is none of this name.
    pub async fn resume_schedule(&self, name: &str) -> Result<bool, Error> {
        self.set_paused(name, false).await
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<bool, Error> {
        self.edit_schedule(name, |plan, now| {
            let changes = plan.record.paused != paused;
            if changes {
                plan.record.paused = paused;
                plan.record.updated_at = now;
                plan.note(if paused { ScheduleNews::Paused } else { ScheduleNews::Resumed });
            }
            Ok(changes)
        })
        .await
    }

    /// Enqueues a job of a schedule now, beside its ticks, whatever still runs of it and also while it is paused.
    ///
    /// # Errors
    /// [`Error::NoSchedule`] when there is none of this name.
    pub async fn run_schedule_now(&self, name: &str) -> Result<JobId, Error> {
        self.edit_schedule(name, |plan, now| {
            let job = self.env().new_id();
            plan.run_now(job.clone(), now)?;
            Ok(job)
        })
        .await
    }

    /// What happened to a schedule, newest first: the newest 1,000 events are kept. Go on with the page's `next`.
    ///
    /// # Errors
    /// [`Error::NoSchedule`] when there is none of this name.
    pub async fn schedule_history(
        &self,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<ScheduleHistory, Error> {
        let (found, _) = self.read_schedule(name).await?;
        let read = found.ok_or_else(|| Error::NoSchedule(name.into()))?;
        let lines = self.store().schedule_history(&read.key, before, limit).await?;
        let full = lines.len() == limit.min(1000) as usize;
        let next = lines.last().filter(|_| full).map(|line| line.number);
        // A line that cannot be read at all was written by a program of another kind; the others are worth showing.
        let items = lines.iter().filter_map(|line| serde_json::from_str(&line.text).ok()).collect();
        Ok(ScheduleHistory { items, next })
    }
}

impl Serialize for ScheduleInfo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (record, definition) = (&self.record, &self.record.definition);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &record.name)?;
        map.serialize_entry("queue", record.queue())?;
        map.serialize_entry("kind", &definition.job.kind)?;
        map.serialize_entry("spec", &definition.spec)?;
        map.serialize_entry("flavor", &definition.flavor)?;
        map.serialize_entry("timezone", &self.zone())?;
        map.serialize_entry("gap", &definition.gap)?;
        map.serialize_entry("fold", &definition.fold)?;
        map.serialize_entry("catch_up", &definition.catch_up)?;
        map.serialize_entry("window_ms", &(definition.window.as_millis() as u64))?;
        map.serialize_entry("overlap", &definition.overlap)?;
        map.serialize_entry("jitter_ms", &(definition.jitter.as_millis() as u64))?;
        map.serialize_entry("starts", &definition.starts)?;
        map.serialize_entry("ends", &definition.ends)?;
        map.serialize_entry("job", &definition.job)?;
        map.serialize_entry("origin", &record.origin)?;
        map.serialize_entry("orphaned", &self.orphaned)?;
        map.serialize_entry("attended", &self.attended)?;
        map.serialize_entry("paused", &record.paused)?;
        map.serialize_entry("next", &self.next)?;
        map.serialize_entry("last", &record.last)?;
        map.serialize_entry("enqueued", &record.enqueued)?;
        map.serialize_entry("missed", &record.missed)?;
        map.serialize_entry("buffered", &record.buffered)?;
        map.serialize_entry("generation", &record.generation)?;
        map.serialize_entry("created_at", &record.created_at)?;
        map.serialize_entry("updated_at", &record.updated_at)?;
        map.serialize_entry("tz_version", &record.tz_version)?;
        map.end()
    }
}
