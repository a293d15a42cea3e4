//! Locks of random histories: two names, few who ask, holds that lapse, are broken, and are renewed or given back too
//! late. What is compared are the answers and the list of locks; fences may have other values, but rise on both sides.

use std::time::Duration;

use proptest::{option, prelude::*};
use uuid::Uuid;
use windlass::{
    Fence, LockName,
    store::{Backend, Hold, LockInfo, LockReply, LockRequest, StoreError},
};

use super::{Outcome, Pair, failed, pick, same};

const NAMES: [&str; 2] = ["lock", "semaphore"];

#[derive(Clone, Debug)]
pub(crate) enum LockOp {
    Acquire(Attempt),
    Extend {
        pick: usize,
        ttl: Duration,
        fence: FenceOf,
    },
    Release {
        pick: usize,
        fence: FenceOf,
    },
    /// Give back whatever this one has, a place in line, too.
    GiveUp {
        lock: usize,
        who: u64,
    },
    Break {
        lock: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    lock: usize,
    who: u64,
    slots: u32,
    ttl: Duration,
    place: Option<Duration>,
}

/// With which fence somebody comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FenceOf {
    /// That of the hold.
    Hold,
    /// Another one.
    Nobody,
}

pub(crate) fn lock_op() -> impl Strategy<Value = LockOp> {
    let lock = 0..NAMES.len();
    let fence = prop_oneof![8 => Just(FenceOf::Hold), 1 => Just(FenceOf::Nobody)];
    prop_oneof![
        8 => attempt().prop_map(LockOp::Acquire),
        4 => (any::<usize>(), span(), fence.clone()).prop_map(|(pick, ttl, fence)| LockOp::Extend { pick, ttl, fence }),
        3 => (any::<usize>(), fence).prop_map(|(pick, fence)| LockOp::Release { pick, fence }),
        1 => (lock.clone(), 0..6u64).prop_map(|(lock, who)| LockOp::GiveUp { lock, who }),
        1 => lock.prop_map(|lock| LockOp::Break { lock }),
    ]
}

/// One who asks comes again; most ask for a lock with one slot and a semaphore with two.
fn attempt() -> impl Strategy<Value = Attempt> {
    let slots = prop_oneof![12 => Just(None), 1 => (1..4u32).prop_map(Some)];
    (0..NAMES.len(), 0..6u64, slots, span(), option::of(span())).prop_map(|(lock, who, slots, ttl, place)| {
        // No two of them end at the same moment: which of two goes first is the store's own affair.
        let apart = Duration::from_millis(who);
        let slots = slots.unwrap_or(lock as u32 + 1);
        Attempt { lock, who, slots, ttl: ttl + apart, place: place.map(|place| place + 10 * apart) }
    })
}

/// Up to eight seconds, and never a whole one.
fn span() -> impl Strategy<Value = Duration> {
    (1..60u32).prop_map(|units| Duration::from_millis(137) * units)
}

/// What both sides have been given.
#[derive(Default)]
pub(super) struct Holds {
    /// Every hold that was ever given, as (model's, subject's).
    all: Vec<(Hold, Hold)>,
}

fn name(lock: usize) -> LockName {
    LockName::new(NAMES[lock]).expect("a name")
}

impl Pair {
    pub(super) async fn lock(&mut self, op: &LockOp) -> Outcome {
        match op {
            LockOp::Acquire(attempt) => self.acquire(attempt).await?,
            LockOp::Extend { pick: at, ttl, fence } => {
                let Some((ours, theirs)) = self.picked(*at, *fence) else { return Ok(()) };
                let model = self.model.store.extend_lock(&ours, *ttl).await.map_err(failed)?;
                let subject = self.subject.store.extend_lock(&theirs, *ttl).await.map_err(failed)?;
                same("renewed", &model, &subject)?;
            }
            LockOp::Release { pick: at, fence } => {
                let Some((ours, theirs)) = self.picked(*at, *fence) else { return Ok(()) };
                let model = release(&*self.model.store, &ours).await.map_err(failed)?;
                let subject = release(&*self.subject.store, &theirs).await.map_err(failed)?;
                same("given back", &model, &subject)?;
            }
            LockOp::GiveUp { lock, who } => {
                let (name, token) = (name(*lock), Uuid::from_u64_pair(7, *who));
                let (model, subject) = both!(self, |side| side.store.release_lock(&name, token, None));
                same("given up", &model, &subject)?;
            }
            LockOp::Break { lock } => {
                let name = name(*lock);
                let (model, subject) = both!(self, |side| side.store.break_lock(&name));
                same("broken", &model, &subject)?;
            }
        }
        self.compare_locks().await
    }

    async fn acquire(&mut self, attempt: &Attempt) -> Outcome {
        let request = LockRequest {
            name: name(attempt.lock),
            slots: attempt.slots,
            token: Uuid::from_u64_pair(7, attempt.who),
            ttl: attempt.ttl,
            place: attempt.place,
            holder: format!("holder {}", attempt.who).into(),
        };
        let (model, subject) = both!(self, |side| side.store.acquire_lock(&request));
        let (LockReply::Held(ours), LockReply::Held(theirs)) = (model, subject) else {
            return same("acquired", &model, &subject);
        };
        let held = |fence| Hold { name: request.name.clone(), token: request.token, fence };
        let (ours, theirs) = (held(ours), held(theirs));
        let known = self.holds.all.iter().find(|(our, their)| *our == ours || *their == theirs);
        if let Some((our, their)) = known {
            return same("the same hold", &(*our == ours), &(*their == theirs));
        }
        let of_name = self.holds.all.iter().filter(|(_, their)| their.name == theirs.name);
        match of_name.map(|(_, their)| their.fence).max() {
            Some(last) if theirs.fence <= last => Err(format!("{:?} does not rise above {last:?}", theirs.fence)),
            _ => {
                self.holds.all.push((ours, theirs));
                Ok(())
            }
        }
    }

    /// A hold that was given at some time, with its fence or another one.
    fn picked(&self, at: usize, fence: FenceOf) -> Option<(Hold, Hold)> {
        let of = |hold: &Hold| match fence {
            FenceOf::Hold => hold.clone(),
            // They begin far above it.
            FenceOf::Nobody => Hold { fence: Fence(7), ..hold.clone() },
        };
        pick(&self.holds.all, at).map(|(ours, theirs)| (of(ours), of(theirs)))
    }

    async fn compare_locks(&self) -> Outcome {
        let (model, mut subject) = both!(self, |side| listed(&*side.store));
        for lock in &mut subject {
            let ours = |fence: Fence| {
                let known = self.holds.all.iter().find(|(_, their)| their.name == lock.name && their.fence == fence);
                known.map_or(Fence(0), |(our, _)| our.fence)
            };
            lock.holders.iter_mut().for_each(|holder| holder.fence = ours(holder.fence));
        }
        same("locks", &model, &subject)
    }
}

async fn release(store: &dyn Backend, hold: &Hold) -> Result<bool, StoreError> {
    store.release_lock(&hold.name, hold.token, Some(hold.fence)).await
}

async fn listed(store: &dyn Backend) -> Result<Vec<LockInfo>, StoreError> {
    let (mut locks, mut after) = (Vec::new(), None);
    loop {
        let page = store.locks(after, 1).await?;
        locks.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(locks);
        }
    }
}
