//! Schedules in the store contract: one compare-and-set that changes a schedule and enqueues what follows from the
//! change, and looks. What a schedule says and what follows from it is decided in `decide/schedule`; to a store it is a
//! text under a name.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Result, StoreError};
use crate::job::{NewJob, QueueName, Timestamp};

/// The most jobs that one [`ScheduleChange`] enqueues.
pub const MAX_CHANGE_JOBS: usize = 500;
/// How many of the newest history lines of a schedule are kept.
pub const HISTORY_KEPT: usize = 1000;
/// The most bytes of a schedule's text, and of a history line.
pub const MAX_SCHEDULE_BYTES: usize = 2 * 1024 * 1024;

/// Where a schedule stands: its jobs' queue, so that a store can change it and enqueue its jobs in one step, and its
/// name in there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScheduleKey {
    /// The queue.
    pub queue: QueueName,
    /// The name.
    pub name: Arc<str>,
}

impl ScheduleKey {
    /// The schedule of this name in this queue.
    pub fn new(queue: QueueName, name: impl Into<Arc<str>>) -> Self {
        Self { queue, name: name.into() }
    }
}

/// The version of a schedule's text. Each change gives it a higher one, also when the schedule was removed and added
/// again meanwhile, and when the clock was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A schedule as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSchedule {
    /// Where it stands.
    pub key: ScheduleKey,
    /// The version of the text.
    pub revision: Revision,
    /// What it says, byte for byte as it was given.
    pub text: Arc<str>,
}

/// Changes a schedule, if it is still the one that was read.
#[derive(Clone, Debug)]
pub struct ScheduleChange {
    /// Which one.
    pub key: ScheduleKey,
    /// The version that was read; none: there was none.
    pub from: Option<Revision>,
    /// What it says from now on; none: it is removed, with its history.
    pub to: Option<Arc<str>>,
    /// Jobs to enqueue in the same step, all of the schedule's queue, at most [`MAX_CHANGE_JOBS`]. One that is there
    /// already is left as it is.
    pub jobs: Vec<NewJob>,
    /// Lines to add to its history, oldest first. A removal has none.
    pub history: Vec<Arc<str>>,
}

impl ScheduleChange {
    /// Refuses what no store takes.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn check(&self) -> Result<()> {
        let refuse = |problem: String| Err(StoreError::Invalid(format!("schedule `{}`: {problem}", self.key.name)));
        if self.jobs.len() > MAX_CHANGE_JOBS {
            return refuse(format!("{} jobs in one change; it takes at most {MAX_CHANGE_JOBS}", self.jobs.len()));
        }
        if let Some(job) = self.jobs.iter().find(|job| job.spec.queue != self.key.queue) {
            let (queue, other) = (&self.key.queue, &job.spec.queue);
            return refuse(format!("it stands in queue `{queue}` and a job of the change is for `{other}`"));
        }
        if self.to.is_none() && !self.history.is_empty() {
            return refuse("it is removed with its history, so nothing can be added to that".into());
        }
        match self.history.iter().chain(&self.to).map(|text| text.len()).find(|bytes| *bytes > MAX_SCHEDULE_BYTES) {
            Some(bytes) => refuse(format!("a text of {bytes} bytes; at most {MAX_SCHEDULE_BYTES} are kept")),
            None => Ok(()),
        }
    }
}

/// What became of a [`ScheduleChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleChanged {
    /// It was made; this is the text's version now. None: the schedule is gone.
    Done(Option<Revision>),
    /// The schedule is another one than was read, gone, or there already. Nothing was changed.
    Conflict,
}

/// Some of the schedules.
#[derive(Clone, Debug, Default)]
pub struct StoredSchedules {
    /// By queue and name.
    pub items: Vec<StoredSchedule>,
    /// Where to go on; none at the end.
    pub next: Option<ScheduleKey>,
    /// The store's wall clock, by which schedules tick.
    pub now: Timestamp,
}

/// A line of a schedule's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleLine {
    /// Rises from line to line of one schedule. Where a page goes on.
    pub number: u64,
    /// What was said, byte for byte.
    pub text: Arc<str>,
}

/// What schedulers and operators do with schedules.
#[async_trait]
pub trait Schedules: Send + Sync + 'static {
    /// In one step: if the schedule's version is the one that was read, its text becomes the new one (or it is removed
    /// with its history), the jobs are enqueued, and the lines are added to its history, of which the newest
    /// [`HISTORY_KEPT`] stay. Otherwise nothing is changed. As durable as an enqueue.
    ///
    /// # Errors
    /// `Invalid` for what [`ScheduleChange::check`] refuses.
    async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged>;

    /// A page of the schedules past `after`, by queue and name: at most `limit` (and at most 1,000).
    async fn schedules(&self, after: Option<ScheduleKey>, limit: u32) -> Result<StoredSchedules>;

    /// The schedules of this name, in whichever queues (there is one, but for moments in which it moves).
    async fn schedules_named(&self, name: &str) -> Result<StoredSchedules>;

    /// The newest history lines of a schedule before this number, newest first: at most `limit` (and at most 1,000).
    /// None of a schedule that is not there.
    async fn schedule_history(&self, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Result<Vec<ScheduleLine>>;
}
