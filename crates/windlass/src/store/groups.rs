//! Groups in the store contract: reading them, and the one step that makes a job of their members.

use async_trait::async_trait;

use super::{Result, StoreError};
use crate::job::{GroupInfo, GroupKey, GroupMember, JobId, MAX_MEMBERS, NewJob, QueueName, State, Timestamp};

/// The most bytes of payload that one [`Groups::members`] answers; a single larger member comes alone.
pub const MEMBERS_BYTES: usize = 16 * 1024 * 1024;

/// Some of the groups that have members.
#[derive(Clone, Debug, Default)]
pub struct GroupPage {
    /// By queue and name.
    pub items: Vec<GroupInfo>,
    /// Where to go on; none at the end.
    pub next: Option<GroupKey>,
    /// The store's wall clock, which the members' times are of.
    pub now: Timestamp,
}

/// Makes one job of members of a group.
#[derive(Clone, Debug)]
pub struct Flush {
    /// The group.
    pub group: GroupKey,
    /// The members and the versions that were read, at most [`MAX_MEMBERS`](crate::MAX_MEMBERS).
    pub members: Vec<(JobId, i64)>,
    /// What they become.
    pub into: NewJob,
}

impl Flush {
    /// Refuses what no store takes: too many members, or none.
    ///
    /// # Errors
    /// `Invalid`, with the number.
    pub fn check(&self) -> Result<()> {
        match self.members.len() {
            0 => Err(StoreError::Invalid("a flush of no members; leave an empty group alone".into())),
            many if many > MAX_MEMBERS as usize => Err(StoreError::Invalid(format!(
                "a flush of {many} members; one takes at most {MAX_MEMBERS}, flush the group in several"
            ))),
            _ => Ok(()),
        }
    }
}

/// What became of a [`Flush`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// The members are completed and name this job, which is in the store.
    Into(JobId),
    /// Not all of them wait in the group as they were read: others have flushed, edited or ended some meanwhile.
    /// Nothing was changed.
    Changed,
    /// The id or the unique key of the new job is taken by this job. Nothing was changed.
    Taken(JobId, Option<State>),
}

/// What aggregators and operators do with groups.
#[async_trait]
pub trait Groups: Send + Sync + 'static {
    /// The groups that have members, of one queue or of all, by queue and name: those past `after`, at most `limit`
    /// (and at most 1,000).
    async fn groups(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32) -> Result<GroupPage>;

    /// The members of a group that have waited longest, in that order: at most `limit`, at most
    /// [`MAX_MEMBERS`](crate::MAX_MEMBERS), and at most [`MEMBERS_BYTES`] of payload. They stay where they are.
    async fn members(&self, group: &GroupKey, limit: u32) -> Result<Vec<GroupMember>>;

    /// In one step: checks that each of these members still waits in the group as it was read, ends them as completed
    /// with the id of the new job, frees their unique keys, and enqueues the new job. Otherwise changes nothing.
    ///
    /// # Errors
    /// `Invalid` for more than [`MAX_MEMBERS`](crate::MAX_MEMBERS) members, or for none.
    async fn flush(&self, flush: &Flush) -> Result<Flushed>;

    /// Makes the group due now, for those of its members that are there. False: there is no such group.
    async fn ask_flush(&self, group: &GroupKey) -> Result<bool>;

    /// Removes up to `limit` members, those that have waited longest first, and answers how many.
    async fn delete_members(&self, group: &GroupKey, limit: u32) -> Result<u32>;
}
