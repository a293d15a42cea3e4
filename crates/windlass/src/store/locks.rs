//! Locks in the store contract: named slots with a time to live, a fence and a line of waiters.
//! All times are of the store's clock, the one that its leases go by.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{Result, StoreError};
use crate::{
    decide::lock::{LONGEST_TTL, SHORTEST_TTL},
    job::{Fence, LockName, MAX_NAME_BYTES, Timestamp},
};

/// The most slots of one lock.
pub const MAX_SLOTS: u32 = 500;

/// The most holders of one lock that a page of [`Locks::locks`] names.
pub const MAX_HOLDERS_SHOWN: usize = 10;

/// Asks for a slot of a lock.
#[derive(Clone, Debug)]
pub struct LockRequest {
    /// Which lock.
    pub name: LockName,
    /// How many may hold it at once: 1 for a lock, more for a semaphore; at most [`MAX_SLOTS`]. All who ask for it at a
    /// time must say the same.
    pub slots: u32,
    /// Names this attempt. A repeat (its answer was lost, or it waits) gets the same hold, renewed, or keeps its place.
    pub token: Uuid,
    /// For how long it is held without a renewal.
    pub ttl: Duration,
    /// Stand in line, and keep the place for this long without another call; none: do not wait. A store may let a repeat
    /// count only once half of that has passed.
    pub place: Option<Duration>,
    /// Who asks, for people; at most 255 bytes.
    pub holder: Arc<str>,
}

impl LockRequest {
    /// Refuses what no store takes.
    ///
    /// # Errors
    /// `Invalid`, with the value.
    pub fn check(&self) -> Result<()> {
        check_ttl(self.ttl)?;
        if self.slots == 0 || self.slots > MAX_SLOTS {
            return Err(StoreError::Invalid(format!("a lock of {} slots; it may have 1 to {MAX_SLOTS}", self.slots)));
        }
        if self.place.is_some_and(|place| place.is_zero() || place > LONGEST_TTL) {
            return Err(StoreError::Invalid("a place in line is kept for more than nothing and at most 12 h".into()));
        }
        if self.holder.len() > MAX_NAME_BYTES || self.holder.contains(char::is_control) {
            return Err(StoreError::Invalid(
                "the holder of a lock is named by at most 255 bytes without control characters".into(),
            ));
        }
        Ok(())
    }
}

/// Refuses a time to live that no store takes.
pub(super) fn check_ttl(ttl: Duration) -> Result<()> {
    if (SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) {
        return Ok(());
    }
    Err(StoreError::Invalid(format!("a lock with a ttl of {ttl:?}; it may be 100 ms to 12 h, and is renewed anyway")))
}

/// What became of a [`LockRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockReply {
    /// It is held, for the whole time to live from now on. The fence is above that of every earlier holder.
    Held(Fence),
    /// It is not.
    Busy {
        /// When something lapses that stands in the way, if nobody renews it or gives it back before: a hold, or where a
        /// slot is free the place of one who stands before this one.
        retry_in: Duration,
        /// How many live waiters stand before this one.
        ahead: u32,
    },
    /// It is held, or waited for, with this other number of slots. Nothing was changed.
    OtherSlots(u32),
}

/// A slot that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Of which lock.
    pub name: LockName,
    /// By which attempt.
    pub token: Uuid,
    /// With which fence.
    pub fence: Fence,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockHolder {
    /// With which fence.
    pub fence: Fence,
    /// As it named itself.
    pub holder: Arc<str>,
    /// Since when, by the store's wall clock.
    pub since: Timestamp,
    /// How long it is held without another renewal.
    pub left: Duration,
}

impl LockHolder {
    /// A holder; for stores.
    pub fn new(fence: Fence, holder: impl Into<Arc<str>>, since: Timestamp, left: Duration) -> Self {
        Self { fence, holder: holder.into(), since, left }
    }
}

/// A lock that is held or waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// Its name.
    pub name: LockName,
    /// How many may hold it at once.
    pub slots: u32,
    /// How many do.
    pub held: u32,
    /// Those who have held it longest, at most [`MAX_HOLDERS_SHOWN`], by fence.
    pub holders: Vec<LockHolder>,
    /// How many wait for it; stops counting at 1,000.
    pub waiting: u32,
}

impl LockInfo {
    /// A lock; for stores.
    pub fn new(name: LockName, slots: u32, held: u32, holders: Vec<LockHolder>, waiting: u32) -> Self {
        Self { name, slots, held, holders, waiting }
    }
}

/// Some of the locks.
#[derive(Clone, Debug, Default)]
pub struct LockPage {
    /// By name.
    pub items: Vec<LockInfo>,
    /// Where to go on; none at the end.
    pub next: Option<LockName>,
}

/// What holders of locks, those who wait, and operators ask for. Each call is one step.
#[async_trait]
pub trait Locks: Send + Sync + 'static {
    /// Takes a slot, or stands in line. A free slot goes to the first live waiters, as many as there are, and what
    /// those leave to anybody. A waiter lives as long as it asks again before its place lapses; then it stands at the
    /// end. A hold that has lapsed is there until somebody else takes its slot, or the lock
    /// with another number of slots.
    ///
    /// Fences rise with every hold, whatever became of the earlier ones: given back, broken, lapsed, over restarts of
    /// the store.
    ///
    /// # Errors
    /// Those of [`LockRequest::check`].
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply>;

    /// Renews a hold: for `ttl` from now on. False: it is lost (given back, broken, lapsed and taken), for good. One
    /// that has lapsed and that nobody took is renewed as any other.
    ///
    /// # Errors
    /// `Invalid` for a ttl that no lock may have.
    async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool>;

    /// Gives back what this attempt has: its hold, if it has this fence (none: whichever it has), and its place in
    /// line. Says whether there was such a hold. What others hold stays as it is.
    async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool>;

    /// The locks that are held or waited for, by name: those past `after`, at most `limit` (and at most 1,000).
    async fn locks(&self, after: Option<LockName>, limit: u32) -> Result<LockPage>;

    /// Takes a lock from all who hold it, and answers from how many. Those who wait keep their places.
    async fn break_lock(&self, name: &LockName) -> Result<u32>;
}
