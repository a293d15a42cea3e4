//! Locks: holders and waiters by name.

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{Inner, MemoryStore};
use crate::{
    decide::lock::{Grant, Standing, grant},
    job::{Fence, LockName, Monotonic, Timestamp},
    store::{
        Hold, LockHolder, LockInfo, LockPage, LockReply, LockRequest, Locks, MAX_HOLDERS_SHOWN, Result,
        locks::check_ttl,
    },
};

pub(super) type AllLocks = BTreeMap<LockName, Lock>;

/// How long what has lapsed is kept for its holder to come back to.
const KEEP_LAPSED: Duration = Duration::from_secs(24 * 3600);
/// No one counts further.
const MOST_COUNTED: usize = 1_000;

/// The clocks of a step.
#[derive(Clone)]
struct Moment {
    wall: Timestamp,
    mono: Monotonic,
    boot: Arc<str>,
}

/// Until when something is kept. Another boot has lost it all.
struct Until {
    at: Monotonic,
    boot: Arc<str>,
}

impl Until {
    fn after(now: &Moment, duration: Duration) -> Self {
        Self { at: now.mono.after(duration), boot: now.boot.clone() }
    }

    fn left(&self, now: &Moment) -> Option<Duration> {
        (self.boot == now.boot && self.at > now.mono).then(|| self.at.since(now.mono))
    }
}

struct Holder {
    token: Uuid,
    fence: Fence,
    holder: Arc<str>,
    since: Timestamp,
    until: Until,
}

struct Waiter {
    token: Uuid,
    until: Until,
}

/// What is under one name. At most `slots` holders, some of whom may have lapsed.
pub(super) struct Lock {
    slots: u32,
    holders: Vec<Holder>,
    line: Vec<Waiter>,
}

impl Lock {
    fn standing(&self, token: Uuid, now: &Moment) -> Standing {
        let held = self.live_holders(now).count() as u32;
        let ahead = self.line.iter().take_while(|waiter| waiter.token != token).count().min(MOST_COUNTED) as u32;
        let slots = (held > 0 || !self.line.is_empty()).then_some(self.slots);
        Standing { held, ahead, slots }
    }

    fn live_holders(&self, now: &Moment) -> impl Iterator<Item = (&Holder, Duration)> {
        self.holders.iter().filter_map(|holder| Some((holder, holder.until.left(now)?)))
    }

    /// Makes room by what lapsed first, and before that by what an earlier boot has lost.
    fn drop_lapsed(&mut self, now: &Moment) {
        while self.holders.len() >= self.slots as usize {
            let lapsed = self.holders.iter().enumerate().filter(|(_, holder)| holder.until.left(now).is_none());
            let Some((at, _)) = lapsed.min_by_key(|(_, holder)| (holder.until.boot == now.boot, holder.until.at))
            else {
                return;
            };
            self.holders.remove(at);
        }
    }

    /// When something lapses that stands in the way of this attempt.
    fn retry_in(&self, token: Uuid, now: &Moment) -> Duration {
        let is_free = (self.live_holders(now).count() as u32) < self.slots;
        let ahead = self.line.iter().take_while(|waiter| waiter.token != token && is_free);
        let waits = ahead.filter_map(|waiter| waiter.until.left(now));
        self.live_holders(now).map(|(_, left)| left).chain(waits).min().unwrap_or_default()
    }

    fn info(&self, name: &LockName, now: &Moment) -> Option<LockInfo> {
        let waiting = self.line.iter().filter(|waiter| waiter.until.left(now).is_some()).count().min(MOST_COUNTED);
        let mut holders: Vec<_> = self
            .live_holders(now)
            .map(|(one, left)| LockHolder::new(one.fence, one.holder.clone(), one.since, left))
            .collect();
        if holders.is_empty() && waiting == 0 {
            return None;
        }
        holders.sort_by_key(|holder| holder.fence);
        let held = holders.len() as u32;
        holders.truncate(MAX_HOLDERS_SHOWN);
        Some(LockInfo::new(name.clone(), self.slots, held, holders, waiting as u32))
    }
}

impl Inner {
    fn acquire_lock(&mut self, request: &LockRequest, now: &Moment) -> LockReply {
        let new = || Lock { slots: request.slots, holders: Vec::new(), line: Vec::new() };
        let lock = self.locks.entry(request.name.clone()).or_insert_with(new);
        lock.line.retain(|waiter| waiter.until.left(now).is_some());
        if let Some(held) = lock.holders.iter_mut().find(|holder| holder.token == request.token) {
            held.until = Until::after(now, request.ttl);
            return LockReply::Held(held.fence);
        }
        let there = lock.standing(request.token, now);
        match grant(there, request.slots) {
            Grant::OtherSlots(slots) => LockReply::OtherSlots(slots),
            Grant::Take => LockReply::Held(self.take_lock(request, now)),
            Grant::Wait => {
                if let Some(place) = request.place {
                    let until = Until::after(now, place);
                    match lock.line.iter_mut().find(|waiter| waiter.token == request.token) {
                        Some(waiter) => waiter.until = until,
                        None => lock.line.push(Waiter { token: request.token, until }),
                    }
                }
                LockReply::Busy { retry_in: lock.retry_in(request.token, now), ahead: there.ahead }
            }
        }
    }

    fn take_lock(&mut self, request: &LockRequest, now: &Moment) -> Fence {
        let fence = Fence(self.next_fence(now.wall));
        let lock = self.locks.get_mut(&request.name).expect("whoever takes a lock has just looked at it");
        if lock.slots != request.slots {
            // They have lapsed, or it had been refused.
            lock.holders.clear();
            lock.slots = request.slots;
        }
        lock.drop_lapsed(now);
        lock.line.retain(|waiter| waiter.token != request.token);
        let until = Until::after(now, request.ttl);
        let holder = request.holder.clone();
        lock.holders.push(Holder { token: request.token, fence, holder, since: now.wall, until });
        fence
    }

    fn release_lock(&mut self, name: &LockName, token: Uuid, fence: Option<Fence>) -> bool {
        let Some(lock) = self.locks.get_mut(name) else { return false };
        let before = lock.holders.len();
        lock.holders.retain(|holder| holder.token != token || fence.is_some_and(|fence| fence != holder.fence));
        lock.line.retain(|waiter| waiter.token != token);
        let held = lock.holders.len() < before;
        if lock.holders.is_empty() && lock.line.is_empty() {
            self.locks.remove(name);
        }
        held
    }

    /// Forgets holds and places that nobody has come back to for long. Says whether there may be more of them.
    pub(super) fn prune_locks(&mut self, mono: Monotonic, boot: &Arc<str>, limit: usize) -> bool {
        let mut left = limit;
        let mut keep = |until: &Until| {
            let kept = (until.boot == *boot && until.at.after(KEEP_LAPSED) > mono) || left == 0;
            left -= usize::from(!kept);
            kept
        };
        self.locks.retain(|_, lock| {
            lock.holders.retain(|holder| keep(&holder.until));
            lock.line.retain(|waiter| keep(&waiter.until));
            !lock.holders.is_empty() || !lock.line.is_empty()
        });
        left == 0
    }

    fn lock_page(&self, after: Option<LockName>, limit: u32, now: &Moment) -> LockPage {
        let limit = limit.min(1000) as usize;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let past = self.locks.range((from, Bound::Unbounded));
        let mut items: Vec<_> = past.filter_map(|(name, lock)| lock.info(name, now)).take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        LockPage { next: items.last().filter(|_| more).map(|last| last.name.clone()), items }
    }
}

impl MemoryStore {
    fn moment(&self) -> Moment {
        Moment { wall: self.env.wall(), mono: self.env.monotonic(), boot: self.env.boot() }
    }
}

#[async_trait]
impl Locks for MemoryStore {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
        request.check()?;
        let now = self.moment();
        Ok(self.inner.lock().acquire_lock(request, &now))
    }

    async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
        check_ttl(ttl)?;
        let now = self.moment();
        let mut inner = self.inner.lock();
        let held = inner.locks.get_mut(&hold.name).and_then(|lock| {
            lock.holders.iter_mut().find(|holder| holder.token == hold.token && holder.fence == hold.fence)
        });
        Ok(held.map(|holder| holder.until = Until::after(&now, ttl)).is_some())
    }

    async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool> {
        let held = self.inner.lock().release_lock(name, token, fence);
        self.waker.wake();
        Ok(held)
    }

    async fn locks(&self, after: Option<LockName>, limit: u32) -> Result<LockPage> {
        let now = self.moment();
        Ok(self.inner.lock().lock_page(after, limit, &now))
    }

    async fn break_lock(&self, name: &LockName) -> Result<u32> {
        let now = self.moment();
        let mut inner = self.inner.lock();
        let Some(lock) = inner.locks.get_mut(name) else { return Ok(0) };
        let held = lock.live_holders(&now).count() as u32;
        lock.holders.clear();
        if lock.line.is_empty() {
            inner.locks.remove(name);
        }
        drop(inner);
        self.waker.wake();
        Ok(held)
    }
}
