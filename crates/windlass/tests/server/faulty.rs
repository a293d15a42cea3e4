//! A line to a store that can be cut, lose replies, hold calls back and never answer. Others have lines of their own.

use std::{
    any::Any,
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;
use windlass::{
    Action, Cursor, Fence, GroupKey, GroupMember, JobFilter, JobId, JobPage, JobRecord, KindFilter, Lease, LockName,
    NewJob, Pattern, QueueName, ServerId, StoreError, Timestamp, store::*,
};

/// The calls of the hot path, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Enqueue,
    Claim,
    Extend,
    Finish,
    Report,
    Flush,
    Other,
}

pub struct Faulty {
    inner: Arc<dyn Backend>,
    threads: bool,
    away: AtomicBool,
    silent: AtomicBool,
    refusing: AtomicBool,
    hints: AtomicBool,
    lost_replies: Mutex<HashMap<Op, u32>>,
    held_back: watch::Sender<Vec<Op>>,
    panics: Mutex<Vec<Op>>,
    calls: watch::Sender<HashMap<Op, u32>>,
    claims: Mutex<Vec<ClaimRequest>>,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Backend>, threads: bool) -> Self {
        Self {
            inner,
            threads,
            away: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            hints: AtomicBool::new(true),
            lost_replies: Mutex::default(),
            held_back: watch::Sender::new(Vec::new()),
            panics: Mutex::default(),
            calls: watch::Sender::new(HashMap::new()),
            claims: Mutex::default(),
        }
    }

    /// Cuts the line, or mends it: every call answers that the store is away, and does nothing.
    pub fn cut(&self, cut: bool) {
        self.away.store(cut, Ordering::SeqCst);
    }

    /// Claims are refused from now on, as by a store that is damaged; or no longer.
    pub fn refuse_claims(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::SeqCst);
    }

    /// No call is answered, or done, any more.
    pub fn silence(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// Who asks for hints from now on gets none.
    pub fn without_hints(&self) {
        self.hints.store(false, Ordering::SeqCst);
    }

    /// The next calls are done, but their replies are lost.
    pub fn lose_replies(&self, op: Op, count: u32) {
        self.lost_replies.lock().unwrap().insert(op, count);
    }

    /// The store's code has a fault: the next such call panics.
    pub fn panic_at(&self, op: Op) {
        self.panics.lock().unwrap().push(op);
    }

    /// Calls wait, before they are done, until they are let through.
    pub fn hold_back(&self, op: Op) {
        self.held_back.send_modify(|ops| ops.push(op));
    }

    pub fn let_through(&self, op: Op) {
        self.held_back.send_modify(|ops| ops.retain(|held| *held != op));
    }

    pub fn calls(&self, op: Op) -> u32 {
        self.calls.borrow().get(&op).copied().unwrap_or(0)
    }

    /// Waits until so many calls have been made in all, answered or not.
    pub async fn called(&self, op: Op, count: u32) {
        let enough = |calls: &HashMap<Op, u32>| calls.get(&op).copied().unwrap_or(0) >= count;
        drop(self.calls.subscribe().wait_for(enough).await.unwrap());
    }

    /// Every claim that was asked for.
    pub fn claims(&self) -> Vec<ClaimRequest> {
        self.claims.lock().unwrap().clone()
    }

    async fn call<T>(&self, op: Op, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.calls.send_modify(|calls| *calls.entry(op).or_default() += 1);
        let panics = self.panics.lock().unwrap().extract_if(.., |panics| *panics == op).count() > 0;
        assert!(!panics, "a fault in the store's code");
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        drop(self.held_back.subscribe().wait_for(|ops| !ops.contains(&op)).await.unwrap());
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the line is cut".into()));
        }
        let still = self.threads.then(Still::begin);
        let answer = call.await;
        drop(still);
        let mut lost = self.lost_replies.lock().unwrap();
        match lost.get_mut(&op) {
            Some(count) if *count > 0 => {
                *count -= 1;
                Err(StoreError::Unavailable("the reply is lost".into()))
            }
            _ => answer,
        }
    }
}

/// Paused time stands still while a blocking task runs.
struct Still {
    _end: std::sync::mpsc::Sender<()>,
}

impl Still {
    fn begin() -> Self {
        let (end, ended) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || ended.recv());
        Self { _end: end }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.call(Op::Enqueue, self.inner.enqueue(jobs)).await
    }
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        self.claims.lock().unwrap().push(request.clone());
        if self.refusing.load(Ordering::SeqCst) {
            self.calls.send_modify(|calls| *calls.entry(Op::Claim).or_default() += 1);
            return Err(StoreError::Corrupt("a page is damaged".into()));
        }
        self.call(Op::Claim, self.inner.claim(request)).await
    }
    async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
        self.call(Op::Extend, self.inner.extend(request)).await
    }
    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
        self.call(Op::Finish, self.inner.finish(batch)).await
    }
    async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>> {
        self.call(Op::Report, self.inner.report(reports)).await
    }
    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
        self.call(Op::Other, self.inner.promote(rules)).await
    }
    async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
        self.call(Op::Other, self.inner.rescue(rules)).await
    }
    async fn cancelled(&self, after: Option<u64>) -> Result<CancelLog> {
        self.call(Op::Other, self.inner.cancelled(after)).await
    }
    fn wakeups(&self) -> WakeUps {
        if self.hints.load(Ordering::SeqCst) { self.inner.wakeups() } else { Waker::new().subscribe() }
    }
}

#[async_trait]
impl Inspect for Faulty {
    async fn get(&self, id: &JobId) -> Result<Option<JobRecord>> {
        self.call(Op::Other, self.inner.get(id)).await
    }
    async fn list(&self, filter: &JobFilter, after: Option<Cursor>, limit: u32) -> Result<JobPage> {
        self.call(Op::Other, self.inner.list(filter, after, limit)).await
    }
    async fn census(&self) -> Result<Census> {
        self.call(Op::Other, self.inner.census()).await
    }
    async fn outstanding(&self, queues: &[QueueName], kinds: &KindFilter, groups: &[Pattern]) -> Result<u64> {
        self.call(Op::Other, self.inner.outstanding(queues, kinds, groups)).await
    }
    async fn tallies(&self, since: Timestamp) -> Result<Tallies> {
        self.call(Op::Other, self.inner.tallies(since)).await
    }
    async fn servers(&self) -> Result<Vec<ServerInfo>> {
        self.call(Op::Other, self.inner.servers()).await
    }
}

#[async_trait]
impl Operate for Faulty {
    async fn operate(&self, id: &JobId, action: &Action) -> Result<Operated> {
        self.call(Op::Other, self.inner.operate(id, action)).await
    }
    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool> {
        self.call(Op::Other, self.inner.pause(queue, paused)).await
    }
    async fn prune(&self, what: &Prune, limit: u32) -> Result<Pruned> {
        self.call(Op::Other, self.inner.prune(what, limit)).await
    }
}

#[async_trait]
impl Groups for Faulty {
    async fn groups(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32) -> Result<GroupPage> {
        self.call(Op::Other, self.inner.groups(queue, after, limit)).await
    }
    async fn members(&self, group: &GroupKey, limit: u32) -> Result<Vec<GroupMember>> {
        self.call(Op::Other, self.inner.members(group, limit)).await
    }
    async fn flush(&self, flush: &Flush) -> Result<Flushed> {
        self.call(Op::Flush, self.inner.flush(flush)).await
    }
    async fn ask_flush(&self, group: &GroupKey) -> Result<bool> {
        self.call(Op::Other, self.inner.ask_flush(group)).await
    }
    async fn delete_members(&self, group: &GroupKey, limit: u32) -> Result<u32> {
        self.call(Op::Other, self.inner.delete_members(group, limit)).await
    }
}

#[async_trait]
impl Locks for Faulty {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
        self.call(Op::Other, self.inner.acquire_lock(request)).await
    }
    async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
        self.call(Op::Other, self.inner.extend_lock(hold, ttl)).await
    }
    async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool> {
        self.call(Op::Other, self.inner.release_lock(name, token, fence)).await
    }
    async fn locks(&self, after: Option<LockName>, limit: u32) -> Result<LockPage> {
        self.call(Op::Other, self.inner.locks(after, limit)).await
    }
    async fn break_lock(&self, name: &LockName) -> Result<u32> {
        self.call(Op::Other, self.inner.break_lock(name)).await
    }
}

#[async_trait]
impl Schedules for Faulty {
    async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
        self.call(Op::Other, self.inner.change_schedule(change)).await
    }
    async fn schedules(&self, after: Option<ScheduleKey>, limit: u32) -> Result<StoredSchedules> {
        self.call(Op::Other, self.inner.schedules(after, limit)).await
    }
    async fn schedules_named(&self, name: &str) -> Result<StoredSchedules> {
        self.call(Op::Other, self.inner.schedules_named(name)).await
    }
    async fn schedule_history(&self, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Result<Vec<ScheduleLine>> {
        self.call(Op::Other, self.inner.schedule_history(key, before, limit)).await
    }
}

#[async_trait]
impl Cluster for Faulty {
    async fn beat(&self, server: &ServerInfo) -> Result<()> {
        self.call(Op::Other, self.inner.beat(server)).await
    }
    async fn leave(&self, server: ServerId) -> Result<()> {
        self.call(Op::Other, self.inner.leave(server)).await
    }
    async fn sweep_unknown(&self, after: Duration, limit: u32) -> Result<u32> {
        self.call(Op::Other, self.inner.sweep_unknown(after, limit)).await
    }
}

impl Backend for Faulty {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn durability(&self) -> String {
        self.inner.durability()
    }
    fn as_any(&self) -> &dyn Any {
        self.inner.as_any()
    }
    fn place(&self) -> String {
        self.inner.place()
    }
}
