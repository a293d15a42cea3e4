//! A group: jobs of one queue that wait together to become one job. Plain data; `decide/group.rs` says when it is due.

use std::sync::Arc;

use serde::Serialize;

use super::{JobId, JobSpec, QueueName, Timestamp};

/// The most members that one flush takes. A larger group becomes several jobs.
pub const MAX_MEMBERS: u32 = 500;

/// Which group: groups of the same name in two queues are two groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct GroupKey {
    /// Its queue.
    pub queue: QueueName,
    /// Its name.
    #[serde(rename = "group")]
    pub name: Arc<str>,
}

impl GroupKey {
    /// The group of this name in this queue.
    pub fn new(queue: QueueName, name: impl Into<Arc<str>>) -> Self {
        Self { queue, name: name.into() }
    }

    /// The group that a job belongs to, if it belongs to one.
    pub fn of(spec: &JobSpec) -> Option<Self> {
        spec.group.clone().map(|name| Self { queue: spec.queue.clone(), name })
    }
}

/// A group as it stands. It exists as long as it has members that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Which one.
    #[serde(flatten)]
    pub key: GroupKey,
    /// How many members wait, counted up to [`MAX_MEMBERS`].
    pub size: u32,
    /// When the member that has waited longest came in.
    pub oldest_at: Timestamp,
    /// When the newest member came in.
    pub newest_at: Timestamp,
    /// Whether somebody asked for those that are there to be flushed now.
    pub flush_asked: bool,
}

impl GroupInfo {
    /// A group with these members, which nobody asked to be flushed.
    pub fn new(key: GroupKey, size: u32, oldest_at: Timestamp, newest_at: Timestamp) -> Self {
        Self { key, size, oldest_at, newest_at, flush_asked: false }
    }
}

/// A job that waits in a group, as it was when it was read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupMember {
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// The store's own number for what was read: another one once the job was edited or came into the group anew. A
    /// flush of another version is refused.
    pub version: i64,
}

impl GroupMember {
    /// A member as a store reads it.
    pub fn new(spec: Arc<JobSpec>, version: i64) -> Self {
        Self { spec, version }
    }

    /// The job and the version that was read.
    pub fn read(&self) -> (JobId, i64) {
        (self.spec.id.clone(), self.version)
    }
}
