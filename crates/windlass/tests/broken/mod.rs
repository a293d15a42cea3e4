//! Stores with one guard taken out, for the negative controls: a test that passes on one of them proves nothing.
//! Each is a sound store behind a layer that does one thing wrong.

pub(crate) mod layers;

use std::{any::Any, sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;
use windlass::{
    Action, BoxFuture, Cursor, Env, Fence, GroupKey, GroupMember, Host, JobFilter, JobId, JobPage, JobRecord,
    JobState as State, KindFilter, Lease, LockName, Monotonic, NewJob, Pattern, QueueName, ServerId, Start, Timestamp,
    store::{
        Backend, CancelLog, Census, Claim, ClaimRequest, Cluster, Enqueued, ExtendRequest, Finish, Finished, Flush,
        Flushed, GroupPage, Groups, Hold, Inspect, LockPage, LockReply, LockRequest, Locks, Operate, Operated,
        PromoteRules, Promoted, Prune, Pruned, Report, Reported, RescueRules, Rescued, Result, ScheduleChange,
        ScheduleChanged, ScheduleKey, ScheduleLine, Schedules, ServerInfo, Store, StoredSchedules, Tallies, WakeUps,
        Waker,
    },
};

/// What a broken store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Accepts a report of whoever, as if they held the newest lease.
    UnfencedFinish,
    /// Renews for whoever, as if they held the newest lease.
    UnfencedExtend,
    /// Takes news of whoever, as if they held the newest lease.
    UnfencedReport,
    /// Takes news again that come again or late.
    TakesNewsAgain,
    /// Does not hand the checkpoint to the next run.
    ForgetsCheckpoints,
    /// Forgets the last claim of each server, so that a repeat takes more jobs.
    ForgetsClaims,
    /// A claim fills its limit with kinds that are not quick.
    IgnoresSlots,
    /// Shows and hands out a crash as a failed attempt.
    CrashIsFailure,
    /// Rescues right after an outage.
    NoPauseAfterOutage,
    /// Gives suspects to anybody.
    SuspectsLikeOthers,
    /// Enqueues one by one.
    HalfEnqueues,
    /// Takes a job whose id is known under another id.
    DoublesRepeats,
    /// Does not pass on a wish to cancel a running job.
    DeafToCancel,
    /// Adds follow-ups of stale reports, too.
    FollowsStale,
    /// Promotes all that is due, whatever the limit.
    NoPromoteLimit,
    /// Promotes all that is due, however much stands in line.
    NoLookAhead,
    /// Adds nothing to a line that is full, whatever was claimed of it.
    NothingBeyond,
    /// Says that it paused the queue.
    NoPause,
    /// Does not count what was removed.
    UncountedRemovals,
    /// Flushes whatever the aggregator has read, whatever became of it since.
    UncheckedFlush,
    /// Flushes members that were edited since they were read.
    StaleFlush,
    /// Puts a delayed job past its group into the line.
    DelaysPastGroups,
    /// Shows no group again whose members were read.
    ForgetsReadGroups,
    /// Wakes nobody.
    Silent,
}

/// A store with one fault.
pub(crate) struct Broken {
    inner: Arc<dyn Backend>,
    fault: Fault,
    waker: Waker,
    /// Leads the sound store's numbering of claims astray.
    claims: std::sync::atomic::AtomicU64,
    /// The groups whose members were read.
    read: std::sync::Mutex<Vec<GroupKey>>,
}

impl Broken {
    pub(crate) fn new(inner: impl Backend, fault: Fault) -> Self {
        Self { inner: Arc::new(inner), fault, waker: Waker::new(), claims: 1_000_000.into(), read: Default::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The newest lease of the job, whoever asks.
    async fn newest(&self, lease: Lease) -> Result<Lease> {
        let fence = self.inner.get(&lease.id).await?.and_then(|job| job.fence);
        Ok(Lease { fence: fence.unwrap_or(lease.fence), ..lease })
    }

    fn shown(&self, mut job: JobRecord) -> JobRecord {
        if self.is(Fault::CrashIsFailure) {
            job.failures += job.crashes;
        }
        job
    }
}

#[async_trait]
impl Store for Broken {
    async fn enqueue(&self, mut jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        if self.is(Fault::DoublesRepeats) {
            for job in &mut jobs {
                if self.inner.get(&job.spec.id).await?.is_some() {
                    let id = format!("{}-again", job.spec.id);
                    Arc::make_mut(&mut job.spec).id = id.parse().expect("an id");
                }
            }
        }
        if self.is(Fault::DelaysPastGroups) {
            let delayed = jobs.iter_mut().filter(|job| !matches!(job.start, Start::Now));
            delayed.for_each(|job| Arc::make_mut(&mut job.spec).group = None);
        }
        if !self.is(Fault::HalfEnqueues) {
            return self.inner.enqueue(jobs).await;
        }
        let mut answers = Vec::new();
        for job in jobs {
            answers.extend(self.inner.enqueue(vec![job]).await?);
            tokio::task::yield_now().await;
        }
        Ok(answers)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let mut request = request.clone();
        if self.is(Fault::ForgetsClaims) {
            request.sequence = self.claims.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        if self.is(Fault::IgnoresSlots) {
            request.slots = request.limit;
        }
        let mut claim = self.inner.claim(&request).await?;
        if self.is(Fault::SuspectsLikeOthers) && claim.suspect_waiting.is_some() && !request.suspect {
            let sequence = self.claims.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let suspect = ClaimRequest { sequence, suspect: true, ..request };
            claim.jobs.extend(self.inner.claim(&suspect).await?.jobs);
        }
        if self.is(Fault::ForgetsCheckpoints) {
            claim.jobs.iter_mut().for_each(|job| job.checkpoint = None);
        }
        if self.is(Fault::CrashIsFailure) {
            for job in &mut claim.jobs {
                job.failures += job.crashes;
                job.attempt += job.crashes;
            }
        }
        Ok(claim)
    }

    async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
        let mut request = request.clone();
        if self.is(Fault::UnfencedExtend) {
            for lease in &mut request.leases {
                *lease = self.newest(lease.clone()).await?;
            }
        }
        self.inner.extend(&request).await
    }

    async fn finish(&self, mut batch: Vec<Finish>) -> Result<Vec<Finished>> {
        if self.is(Fault::UnfencedFinish) {
            for finish in &mut batch {
                finish.lease = self.newest(finish.lease.clone()).await?;
            }
        }
        if self.is(Fault::FollowsStale) {
            self.inner.enqueue(batch.iter().flat_map(|finish| finish.then.clone()).collect()).await?;
        }
        self.inner.finish(batch).await
    }

    async fn report(&self, mut reports: Vec<Report>) -> Result<Vec<Reported>> {
        for report in &mut reports {
            if self.is(Fault::UnfencedReport) {
                report.lease = self.newest(report.lease.clone()).await?;
            }
            if self.is(Fault::TakesNewsAgain) {
                report.news.number = self.claims.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        self.inner.report(reports).await
    }

    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
        let mut rules = rules.clone();
        if self.is(Fault::NoPromoteLimit) {
            rules.limit = u32::MAX;
        }
        if self.is(Fault::NoLookAhead) {
            rules.look_ahead = u32::MAX;
        }
        if self.is(Fault::NothingBeyond) {
            rules.beyond.clear();
        }
        self.inner.promote(&rules).await
    }

    async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
        let mut rules = *rules;
        if self.is(Fault::NoPauseAfterOutage) {
            // The pause is a part of the lease: of none, none.
            rules.lease = Duration::ZERO;
            rules.ran_late = false;
        }
        self.inner.rescue(&rules).await
    }

    async fn cancelled(&self, after: Option<u64>) -> Result<CancelLog> {
        self.inner.cancelled(after).await
    }

    fn wakeups(&self) -> WakeUps {
        if self.is(Fault::Silent) { self.waker.subscribe() } else { self.inner.wakeups() }
    }
}

#[async_trait]
impl Inspect for Broken {
    async fn get(&self, id: &JobId) -> Result<Option<JobRecord>> {
        Ok(self.inner.get(id).await?.map(|job| self.shown(job)))
    }

    async fn list(&self, filter: &JobFilter, after: Option<Cursor>, limit: u32) -> Result<JobPage> {
        let page = self.inner.list(filter, after, limit).await?;
        let items = page.items.into_iter().map(|job| self.shown(job)).collect();
        Ok(JobPage { items, next: page.next })
    }

    async fn census(&self) -> Result<Census> {
        let census = self.inner.census().await?;
        let removed = if self.is(Fault::UncountedRemovals) { 0 } else { census.removed };
        Ok(Census { removed, ..census })
    }

    async fn outstanding(&self, queues: &[QueueName], kinds: &KindFilter, groups: &[Pattern]) -> Result<u64> {
        self.inner.outstanding(queues, kinds, groups).await
    }

    async fn tallies(&self, since: Timestamp) -> Result<Tallies> {
        self.inner.tallies(since).await
    }

    async fn servers(&self) -> Result<Vec<ServerInfo>> {
        self.inner.servers().await
    }
}

#[async_trait]
impl Operate for Broken {
    async fn operate(&self, id: &JobId, action: &Action) -> Result<Operated> {
        let running = self.inner.get(id).await?.is_some_and(|job| job.state == State::Running);
        if self.is(Fault::DeafToCancel) && running && matches!(action, Action::Cancel { .. }) {
            return Ok(Operated::Done(State::Running));
        }
        self.inner.operate(id, action).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool> {
        if self.is(Fault::NoPause) { Ok(true) } else { self.inner.pause(queue, paused).await }
    }

    async fn prune(&self, what: &Prune, limit: u32) -> Result<Pruned> {
        self.inner.prune(what, limit).await
    }
}

#[async_trait]
impl Groups for Broken {
    async fn groups(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32) -> Result<GroupPage> {
        let mut page = self.inner.groups(queue, after, limit).await?;
        if self.is(Fault::ForgetsReadGroups) {
            let read = self.read.lock().expect("nobody panics with it");
            page.items.retain(|group| !read.contains(&group.key));
        }
        Ok(page)
    }

    async fn members(&self, group: &GroupKey, limit: u32) -> Result<Vec<GroupMember>> {
        self.read.lock().expect("nobody panics with it").push(group.clone());
        self.inner.members(group, limit).await
    }

    async fn flush(&self, flush: &Flush) -> Result<Flushed> {
        let mut flush = flush.clone();
        if self.is(Fault::StaleFlush) {
            let now: Vec<_> = self.inner.members(&flush.group, 1000).await?.iter().map(GroupMember::read).collect();
            for (id, version) in &mut flush.members {
                *version = now.iter().find(|(there, _)| there == id).map_or(*version, |(_, version)| *version);
            }
        }
        let flushed = self.inner.flush(&flush).await?;
        if self.is(Fault::UncheckedFlush) && flushed == Flushed::Changed {
            for (id, _) in &flush.members {
                self.inner.operate(id, &Action::Delete).await?;
            }
            self.inner.enqueue(vec![flush.into.clone()]).await?;
            return Ok(Flushed::Into(flush.into.spec.id.clone()));
        }
        Ok(flushed)
    }

    async fn ask_flush(&self, group: &GroupKey) -> Result<bool> {
        self.inner.ask_flush(group).await
    }

    async fn delete_members(&self, group: &GroupKey, limit: u32) -> Result<u32> {
        self.inner.delete_members(group, limit).await
    }
}

#[async_trait]
impl Locks for Broken {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
        self.inner.acquire_lock(request).await
    }

    async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
        self.inner.extend_lock(hold, ttl).await
    }

    async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool> {
        self.inner.release_lock(name, token, fence).await
    }

    async fn locks(&self, after: Option<LockName>, limit: u32) -> Result<LockPage> {
        self.inner.locks(after, limit).await
    }

    async fn break_lock(&self, name: &LockName) -> Result<u32> {
        self.inner.break_lock(name).await
    }
}

#[async_trait]
impl Schedules for Broken {
    async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
        self.inner.change_schedule(change).await
    }

    async fn schedules(&self, after: Option<ScheduleKey>, limit: u32) -> Result<StoredSchedules> {
        self.inner.schedules(after, limit).await
    }

    async fn schedules_named(&self, name: &str) -> Result<StoredSchedules> {
        self.inner.schedules_named(name).await
    }

    async fn schedule_history(&self, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Result<Vec<ScheduleLine>> {
        self.inner.schedule_history(key, before, limit).await
    }
}

#[async_trait]
impl Cluster for Broken {
    async fn beat(&self, server: &ServerInfo) -> Result<()> {
        self.inner.beat(server).await
    }

    async fn leave(&self, server: ServerId) -> Result<()> {
        self.inner.leave(server).await
    }

    async fn sweep_unknown(&self, after: Duration, limit: u32) -> Result<u32> {
        self.inner.sweep_unknown(after, limit).await
    }
}

impl Backend for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn durability(&self) -> String {
        self.inner.durability()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

/// A place whose clocks are wrong, under a sound store.
pub(crate) struct WrongClock {
    pub(crate) right: Env,
    /// The wall clock serves as the monotonic one.
    pub(crate) one_clock: bool,
}

impl Host for WrongClock {
    fn wall(&self) -> Timestamp {
        self.right.wall()
    }

    fn monotonic(&self) -> Monotonic {
        if self.one_clock { Monotonic(self.right.wall().as_micros()) } else { self.right.monotonic() }
    }

    fn boot(&self) -> Arc<str> {
        "always the same boot".into()
    }

    fn random(&self) -> u64 {
        self.right.random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.right.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<()>) -> tokio::task::JoinHandle<()> {
        self.right.spawn(task)
    }

    fn spawn_apart(&self, name: &'static str, task: BoxFuture<()>) -> tokio::task::JoinHandle<()> {
        self.right.spawn_apart(name, task)
    }
}
