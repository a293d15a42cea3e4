//! More stores with one guard taken out, each a few calls done wrong over a sound one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;
use windlass::{
    Action, Fence, JobFilter, JobId, JobRecord, JobState as State, KindFilter, Lease, LockName, NewJob, Pattern,
    QueueName, ServerId, StoreError, Unique, UniqueMode, Verdict,
    store::{
        Backend, Claim, ClaimRequest, Enqueued, ExtendRequest, Finish, Finished, Hold, LockReply, LockRequest,
        PromoteRules, Promoted, Prune, Pruned, RescueRules, Rescued, Result, Revision, ScheduleChange, ScheduleChanged,
    },
    testing::Layer,
};

/// A sound store, and what is done wrong with it.
macro_rules! broken {
    ($($(#[$doc:meta])* $name:ident { $($body:tt)* })*) => {$(
        $(#[$doc])*
        pub(crate) struct $name(pub(crate) Arc<dyn Backend>);

        #[async_trait]
        impl Layer for $name {
            fn inner(&self) -> &dyn Backend {
                &*self.0
            }
            $($body)*
        }
    )*};
}

/// The jobs with another unique key, or none.
fn rekeyed(mut jobs: Vec<NewJob>, rekey: impl Fn(Unique) -> Option<Unique>) -> Vec<NewJob> {
    for job in &mut jobs {
        let unique = job.spec.unique.and_then(&rekey);
        Arc::make_mut(&mut job.spec).unique = unique;
    }
    jobs
}

/// A fence as a store whose fences fall would give it, and back.
fn mirrored(fence: Fence) -> Fence {
    Fence(u64::MAX / 2 - fence.0)
}

broken! {
    /// Gives a lock back for whoever asks.
    ReleasesForAnybody {
        async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool> {
            Ok(self.0.release_lock(name, token, fence).await? || self.0.break_lock(name).await? > 0)
        }
    }

    /// Renews and gives back whatever the token has, with any fence.
    LocksWithoutFences {
        async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
            let there = self.0.locks(None, 1000).await?.items.into_iter().find(|lock| lock.name == hold.name);
            let fence = there.and_then(|lock| Some(lock.holders.first()?.fence));
            self.0.extend_lock(&Hold { fence: fence.unwrap_or(hold.fence), ..hold.clone() }, ttl).await
        }

        async fn release_lock(&self, name: &LockName, token: Uuid, _: Option<Fence>) -> Result<bool> {
            self.0.release_lock(name, token, None).await
        }
    }

    /// Nobody stands in line: whoever asks first gets it.
    LocksWithoutALine {
        async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
            self.0.acquire_lock(&LockRequest { place: None, ..request.clone() }).await
        }
    }

    /// Keeps the places of waiters who have long stopped to ask.
    KeepsDeadWaiters {
        async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
            let place = request.place.map(|place| 1000 * place);
            self.0.acquire_lock(&LockRequest { place, ..request.clone() }).await
        }
    }

    /// Says that a waiter's own place is in its way.
    StandsInItsOwnWay {
        async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
            Ok(match (self.0.acquire_lock(request).await?, request.place) {
                (LockReply::Busy { retry_in, ahead }, Some(place)) => {
                    LockReply::Busy { retry_in: retry_in.min(place), ahead }
                }
                (reply, _) => reply,
            })
        }
    }

    /// Says that it renewed what is lost.
    RenewsTheLost {
        async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
            self.0.extend_lock(hold, ttl).await.map(|_| true)
        }
    }

    /// Lets one more in than there are slots.
    OneSlotTooMany {
        async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
            self.0.acquire_lock(&LockRequest { slots: (request.slots + 1).min(500), ..request.clone() }).await
        }
    }

    /// Holds a lock for longer than was asked for.
    LocksForLonger {
        async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
            self.0.acquire_lock(&LockRequest { ttl: 2 * request.ttl, ..request.clone() }).await
        }
    }

    /// A repeat of an attempt is another attempt.
    ForgetsAttempts {
        async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
            let another = LockRequest { token: Uuid::from_u128(request.token.as_u128() ^ 1), ..request.clone() };
            if let held @ LockReply::Held(_) = self.0.acquire_lock(&another).await? {
                self.0.release_lock(&request.name, another.token, None).await?;
                self.0.acquire_lock(request).await?;
                return Ok(held);
            }
            Ok(LockReply::Busy { retry_in: Duration::ZERO, ahead: 0 })
        }
    }

    /// Fences fall.
    FallingFences {
        async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
            Ok(match self.0.acquire_lock(request).await? {
                LockReply::Held(fence) => LockReply::Held(mirrored(fence)),
                other => other,
            })
        }

        async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
            self.0.extend_lock(&Hold { fence: mirrored(hold.fence), ..hold.clone() }, ttl).await
        }

        async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool> {
            self.0.release_lock(name, token, fence.map(mirrored)).await
        }
    }

    /// Says that it broke the lock.
    BreaksNothing {
        async fn break_lock(&self, _: &LockName) -> Result<u32> {
            Ok(1)
        }
    }

    /// Removes all that may go, whatever the limit.
    PrunesAll {
        async fn prune(&self, what: &Prune, _: u32) -> Result<Pruned> {
            self.0.prune(what, u32::MAX).await
        }
    }

    /// Looks for what is left at one place after the other.
    LooksAround {
        async fn outstanding(&self, _: &[QueueName], _: &KindFilter, _: &[Pattern]) -> Result<u64> {
            for state in [State::Pending, State::Running, State::Scheduled, State::Retrying] {
                tokio::task::yield_now().await;
                let jobs = self.0.list(&JobFilter::default().state(state), None, 10).await?.items;
                if jobs.iter().any(|job| job.spec.kind.as_str() == "work") {
                    return Ok(1);
                }
            }
            Ok(0)
        }
    }

    /// Knows no unique keys.
    Keyless {
        async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
            self.0.enqueue(rekeyed(jobs, |_| None)).await
        }
    }

    /// Holds a key though its job is done.
    HoldsKeys {
        async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
            let mode = UniqueMode::Idempotency { ttl: Duration::from_secs(86_400) };
            self.0.enqueue(rekeyed(jobs, |unique| Some(Unique { mode, ..unique }))).await
        }
    }

    /// Stops promoting where a job with a unique key is due.
    StopsAtKeys {
        async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
            let mut scheduled = JobFilter::default();
            scheduled.states = vec![State::Scheduled];
            let waiting = self.0.list(&scheduled, None, 100).await?;
            if waiting.items.iter().any(|job| job.spec.unique.is_some()) {
                return Err(StoreError::Unavailable("a unique key is in the way".into()));
            }
            self.0.promote(rules).await
        }
    }

    /// Answers renewals and renews nothing.
    DeafToRenewals {
        async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
            self.0.extend(&ExtendRequest { leases: Vec::new(), ..request.clone() }).await
        }
    }

    /// Charges a crash for each of two rescuers.
    ChargesTwice {
        async fn get(&self, id: &JobId) -> Result<Option<JobRecord>> {
            let mut found = self.0.get(id).await?;
            if let Some(job) = &mut found {
                job.crashes *= 2;
            }
            Ok(found)
        }
    }

    /// Takes all servers for one, as where they have a name and no id.
    OneName {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
            self.0.claim(&ClaimRequest { server: ServerId(uuid::Uuid::nil()), ..request.clone() }).await
        }
    }

    /// Rescues only what registered servers hold.
    RescuesTheRegistered {
        async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
            match self.0.servers().await?.is_empty() {
                true => Ok(Rescued::default()),
                false => self.0.rescue(rules).await,
            }
        }
    }

    /// Looks no further than the first five hundred in line.
    LooksNoFurther {
        async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
            let mut pending = JobFilter::default();
            pending.states = vec![State::Pending];
            let near = self.0.list(&pending, None, 500).await?.items;
            match near.iter().any(|job| request.kinds.rule_for(job.spec.kind.as_str()).is_some()) {
                true => self.0.claim(request).await,
                false => Ok(Claim::default()),
            }
        }
    }

    /// Keeps no more than nine thousand dead jobs, as a server of Go's trims an archive.
    TrimsDead {
        async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
            let mut dead = JobFilter::default();
            dead.states = vec![State::Dead];
            let counts = self.0.census().await?.queues.iter().map(|queue| queue.by_state).fold(0, |sum, states| {
                sum + states[State::Dead.code() as usize]
            });
            let over = u32::try_from(counts.saturating_sub(9_000)).unwrap_or(u32::MAX);
            for job in self.0.list(&dead, None, over).await?.items {
                self.0.operate(&job.spec.id, &Action::Delete).await?;
            }
            self.0.rescue(rules).await
        }
    }

    /// Takes a snooze for a failure.
    SnoozeIsFailure {
        async fn finish(&self, mut batch: Vec<Finish>) -> Result<Vec<Finished>> {
            for finish in &mut batch {
                if let Verdict::Snooze(wait) = finish.verdict {
                    finish.verdict = Verdict::RetryIn(wait);
                }
            }
            self.0.finish(batch).await
        }
    }

    /// Changes a schedule whatever was read of it.
    ChangesBlindly {
        async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
            loop {
                let found = self.0.schedules_named(&change.key.name).await?.items;
                let from = found.iter().find(|item| item.key == change.key).map(|item| item.revision);
                match self.0.change_schedule(&ScheduleChange { from, ..change.clone() }).await? {
                    ScheduleChanged::Conflict => {}
                    done => return Ok(done),
                }
            }
        }
    }

    /// Enqueues the jobs of a schedule in a step of their own, before the change.
    TicksInTwo {
        async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
            change.check()?;
            self.0.enqueue(change.jobs.clone()).await?;
            self.0.change_schedule(&ScheduleChange { jobs: Vec::new(), ..change.clone() }).await
        }
    }

    /// Gives a schedule that was added the version 1, as if nothing had been there before.
    CountsAnew {
        async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
            let found = self.0.schedules_named(&change.key.name).await?.items;
            let found = found.iter().find(|item| item.key == change.key);
            if change.from.is_some_and(|from| from != Revision(1)) || change.from.is_some() != found.is_some() {
                return self.0.change_schedule(change).await;
            }
            let from = found.map(|item| item.revision);
            let changed = self.0.change_schedule(&ScheduleChange { from, ..change.clone() }).await?;
            Ok(match (changed, change.from) {
                (ScheduleChanged::Done(Some(_)), None) => ScheduleChanged::Done(Some(Revision(1))),
                (changed, _) => changed,
            })
        }
    }

    /// Enqueues what follows in a step of its own, before the outcome.
    FinishesInTwo {
        async fn finish(&self, mut batch: Vec<Finish>) -> Result<Vec<Finished>> {
            self.0.enqueue(batch.iter_mut().flat_map(|finish| std::mem::take(&mut finish.then)).collect()).await?;
            tokio::task::yield_now().await;
            self.0.finish(batch).await
        }
    }
}

/// Keeps its transaction open when the call that opened it is dropped.
pub(crate) struct LeaksTransactions(pub(crate) Arc<dyn Backend>, pub(crate) AtomicBool);

#[async_trait]
impl Layer for LeaksTransactions {
    fn inner(&self) -> &dyn Backend {
        &*self.0
    }

    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
        self.1.store(true, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let promoted = self.0.promote(rules).await;
        self.1.store(false, Ordering::Relaxed);
        promoted
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        match self.1.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("another transaction is open".into())),
            false => self.0.enqueue(jobs).await,
        }
    }
}
