//! What operators see of groups and do with them.

use super::Client;
use crate::{
    error::Error,
    job::{GroupKey, QueueName},
    store::GroupPage,
};

/// The most members that are removed in one step.
const STEP: u32 = 500;

impl Client {
    /// A page of at most `limit` (and at most 1,000) of the groups that have members, of one queue or of all, by queue
    /// and name; go on with the page's `next`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn groups(
        &self,
        queue: Option<&QueueName>,
        after: Option<&GroupKey>,
        limit: u32,
    ) -> Result<GroupPage, Error> {
        Ok(self.store().groups(queue.cloned(), after.cloned(), limit).await?)
    }

    /// Makes a group due now, for those of its members that are there: the next server that aggregates it flushes
    /// them, usually within a second. False: there is no such group.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn flush_group(&self, group: &GroupKey) -> Result<bool, Error> {
        Ok(self.store().ask_flush(group).await?)
    }

    /// Removes the members of a group in steps, without a trace, and answers how many there were. Those that come in
    /// meanwhile may go, too.
    ///
    /// # Errors
    /// When the store is away; what was removed until then stays removed.
    pub async fn delete_group(&self, group: &GroupKey) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            let step = self.store().delete_members(group, STEP).await?;
            removed += u64::from(step);
            if step < STEP {
                return Ok(removed);
            }
        }
    }
}
