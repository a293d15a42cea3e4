//! The memory store: the executable specification of the store contract, and fast enough to be used as it is.
//! Everything is behind one lock; every call is one step. Indexes use a fast hash; leases are kept per claim.
//!
//! - `table.rs`: jobs by number; `ids.rs`: their numbers by id. `line.rs`: the pending jobs of one queue and kind.
//! - `hot.rs`: enqueue, claim, extend, finish, rescue. `due.rs`: what waits for its time. `report.rs`: what runs say while
//!   they go on.
//! - `exclusive.rs`: jobs of which one runs at a time.
//! - `cold.rs`: what people and servers look at and do. `groups.rs`: jobs that wait to become one. `schedules.rs`:
//!   recurring ones. `locks.rs`: locks.

mod cold;
mod due;
mod exclusive;
mod groups;
mod hot;
mod ids;
mod line;
mod locks;
mod report;
mod schedules;
mod table;

use std::{
    any::Any,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use self::{
    due::Waiting,
    groups::{Members, leave_group},
    ids::Ids,
    line::Line,
    schedules::Kept,
    table::Table,
};
use super::*;
use crate::{
    decide::{group::joins, rescue::Pulse, retention::keep},
    env::Env,
    job::{
        Cause, DEFAULTS, DeadReason, GroupKey, JobId, JobRecord, JobSpec, Kind, Monotonic, QueueName, State, Timestamp,
        UniqueKey,
    },
};

/// Where a pending job stands: higher priority first, then by turn. Turns rise for those who come in at the end and
/// fall for those who go to the front.
type Order = (Reverse<i8>, i64);

/// A store in the memory of this process.
///
/// ```
/// use std::sync::Arc;
/// use windlass::{Client, Env, store::memory::MemoryStore};
/// let client = Client::builder().on(Arc::new(MemoryStore::new(Env::system()))); // Client::open("memory:") does the same
/// # let _ = client;
/// ```
pub struct MemoryStore {
    inner: Mutex<Inner>,
    env: Env,
    waker: Waker,
}

struct Job {
    record: JobRecord,
    line: usize,
    turn: i64,
    suspect: bool,
    lease: u64,
    expires: Option<Timestamp>,
    /// The run that last said something, and the number of what it said.
    said: Option<(Fence, u64)>,
}

impl Job {
    /// Whether it belongs into its group, not in line.
    fn grouped(&self) -> bool {
        joins(self.record.spec.group.is_some(), self.record.attempt)
    }

    fn order(&self) -> Order {
        (Reverse(self.record.spec.priority), self.turn)
    }
}

struct LeaseBatch {
    server: ServerId,
    until: Monotonic,
    boot: Arc<str>,
    members: Vec<u64>,
    live: usize,
}

struct LastClaim {
    sequence: u64,
    fence: u64,
    members: Vec<u64>,
    /// When it was made, or the server left.
    at: Monotonic,
}

struct Queue {
    name: QueueName,
    paused: bool,
    lines: Vec<usize>,
}

struct Inner {
    jobs: Table,
    ids: Ids,
    queues: Vec<Queue>,
    queue_names: FxHashMap<QueueName, usize>,
    lines: Vec<Line>,
    line_names: FxHashMap<(usize, Kind), usize>,
    leases: BTreeMap<u64, LeaseBatch>,
    last_claims: FxHashMap<ServerId, LastClaim>,
    groups: BTreeMap<GroupKey, Members>,
    locks: locks::AllLocks,
    schedules: BTreeMap<ScheduleKey, Kept>,
    /// The newest version of any schedule.
    revision: Revision,
    due: Waiting,
    /// Exclusive keys that somebody holds. Nobody is blocked by another one.
    slots: FxHashMap<exclusive::Key, exclusive::Slot>,
    expiring: BTreeSet<(Timestamp, u64)>,
    /// By state and when they ended: what has ended and is kept.
    ended: BTreeSet<(u8, Timestamp, u64)>,
    live_keys: FxHashMap<UniqueKey, u64>,
    timed_keys: FxHashMap<UniqueKey, (JobId, Timestamp)>,
    timed_keys_expire: BTreeSet<(Timestamp, UniqueKey)>,
    wishes: VecDeque<(u64, CancelWish)>,
    last_wish: u64,
    buckets: BTreeMap<(i64, usize), Bucket>,
    tenant_buckets: BTreeMap<(i64, Arc<str>), Bucket>,
    servers: BTreeMap<ServerId, ServerInfo>,
    pulse: Pulse,
    boot: Arc<str>,
    swept: Option<Timestamp>,
    fence: u64,
    back: i64,
    front: i64,
    enqueued: u64,
    removed: u64,
}

impl MemoryStore {
    /// An empty store on the clocks of `env`.
    pub fn new(env: Env) -> Self {
        let inner = Inner {
            jobs: Table::default(),
            ids: Ids::default(),
            queues: Vec::new(),
            queue_names: FxHashMap::default(),
            lines: Vec::new(),
            line_names: FxHashMap::default(),
            leases: BTreeMap::new(),
            last_claims: FxHashMap::default(),
            groups: BTreeMap::new(),
            locks: BTreeMap::new(),
            schedules: BTreeMap::new(),
            revision: Revision(0),
            due: Waiting::default(),
            slots: FxHashMap::default(),
            expiring: BTreeSet::new(),
            ended: BTreeSet::new(),
            live_keys: FxHashMap::default(),
            timed_keys: FxHashMap::default(),
            timed_keys_expire: BTreeSet::new(),
            wishes: VecDeque::new(),
            last_wish: 0,
            buckets: BTreeMap::new(),
            tenant_buckets: BTreeMap::new(),
            servers: BTreeMap::new(),
            pulse: Pulse::new(env.monotonic()),
            boot: env.boot(),
            swept: None,
            fence: 0,
            back: 0,
            front: -1,
            enqueued: 0,
            removed: 0,
        };
        Self { inner: Mutex::new(inner), env, waker: Waker::new() }
    }
}

/// The steps that every change of a job is made of.
impl Inner {
    fn line(&mut self, queue: &QueueName, kind: &Kind) -> usize {
        let queue = self.queue_names.get(queue).copied().unwrap_or_else(|| {
            let place = self.queues.len();
            self.queues.push(Queue { name: queue.clone(), paused: false, lines: Vec::new() });
            self.queue_names.insert(queue.clone(), place);
            place
        });
        let key = (queue, kind.clone());
        self.line_names.get(&key).copied().unwrap_or_else(|| {
            let place = self.lines.len();
            self.lines.push(Line::new(queue, kind.clone()));
            self.queues[queue].lines.push(place);
            self.line_names.insert(key, place);
            place
        })
    }

    fn find(&self, id: &JobId) -> Option<u64> {
        self.ids.find(id, &self.jobs)
    }

    /// Takes a job out of whatever its state keeps it in, and puts it into the new state.
    fn change(&mut self, seq: u64, to: State, cause: Cause, now: Timestamp) {
        self.leave(seq);
        self.enter(seq, to, cause, now);
    }

    /// Gives a job that is in no index its new state.
    fn enter(&mut self, seq: u64, to: State, cause: Cause, now: Timestamp) {
        let job = self.jobs.get_mut(seq).expect("only jobs that are there are changed");
        let from = job.record.state;
        debug_assert!(from.may_become(to, cause), "{from} may not become {to} by {cause:?}");
        let line = &mut self.lines[job.line];
        line.by_state[from.code() as usize] -= 1;
        line.by_state[to.code() as usize] += 1;
        job.record.state = to;
        job.record.updated_at = now;
        if from.is_terminal() {
            job.record.reason = None;
            job.record.completed_at = None;
        }
        let key = exclusive::key_of(&job.record);
        self.free(key, from, Some(to), now);
    }

    /// Takes a job out of the index of its present state.
    fn leave(&mut self, seq: u64) {
        let Some(job) = self.jobs.get_mut(seq) else { return };
        match job.record.state {
            State::Pending => {
                self.lines[job.line].list(job.suspect).remove(&job.order());
            }
            State::Scheduled | State::Retrying => {
                self.due.remove(job, seq);
            }
            State::Aggregating => leave_group(&mut self.groups, seq, &job.record),
            State::Blocked => self.leave_blocked(seq),
            State::Running => {
                if let Some(batch) = self.leases.get_mut(&job.lease) {
                    batch.live -= 1;
                    if batch.live == 0 {
                        self.leases.remove(&job.lease);
                    }
                }
            }
            _ => {
                if let Some(at) = job.expires.take() {
                    self.expiring.remove(&(at, seq));
                    self.ended.remove(&(job.record.state.code(), job.record.completed_at.unwrap_or_default(), seq));
                }
            }
        }
    }

    /// Stands a pending job in its line.
    fn line_up(&mut self, seq: u64, front: bool, now: Timestamp) {
        let turn = if front { &mut self.front } else { &mut self.back };
        let job = self.jobs.get_mut(seq).expect("only jobs that are there are lined up");
        job.turn = *turn;
        *turn += if front { -1 } else { 1 };
        job.record.pending_at = Some(now);
        job.record.run_at = None;
        self.lines[job.line].list(job.suspect).insert(job.order(), seq);
        self.hold(seq);
    }

    /// Gives a scheduled or retrying job its time.
    fn wait_until(&mut self, seq: u64, at: Timestamp) {
        let job = self.jobs.get_mut(seq).expect("only jobs that are there wait");
        job.record.run_at = Some(at);
        self.due.insert(job, at, seq);
    }

    /// Ends a job's life: its key is free, its numbers are counted, and it is kept for as long as it should be.
    fn settle(&mut self, seq: u64, reason: Option<Arc<str>>, now: Timestamp, run: Option<(Duration, Duration)>) {
        let job = self.jobs.get_mut(seq).expect("only jobs that are there end");
        let (state, line) = (job.record.state, job.line);
        job.record.reason = reason;
        job.record.completed_at = Some(now);
        job.record.run_at = None;
        job.record.cancel_requested = None;
        if let Some(unique) = job.record.spec.unique
            && self.live_keys.get(&unique.key) == Some(&seq)
        {
            self.live_keys.remove(&unique.key);
        }
        let keep = keep(state, job.record.spec.retention, DEFAULTS.keep_failed);
        let expires = now.after(keep);
        let (lifetime, tenant) = (now.since(job.record.created_at), job.record.spec.tenant.clone());
        if !keep.is_zero() {
            job.expires = Some(expires);
            self.expiring.insert((expires, seq));
            self.ended.insert((state.code(), now, seq));
        }
        self.count(line, tenant, state, now, run, lifetime);
        if keep.is_zero() {
            self.remove(seq, now);
        }
    }

    fn count(
        &mut self,
        line: usize,
        tenant: Option<Arc<str>>,
        state: State,
        now: Timestamp,
        run: Option<(Duration, Duration)>,
        lifetime: Duration,
    ) {
        let add = |bucket: &mut Bucket| match run {
            Some((waited, ran)) => bucket.count_run(state, waited, ran, lifetime),
            None if state == State::Completed => bucket.count_flushed(lifetime),
            None => bucket.count(state),
        };
        add(self.buckets.entry((now.minute(), line)).or_default());
        if let Some(tenant) = tenant {
            add(self.tenant_buckets.entry((now.minute(), tenant)).or_default());
        }
    }

    /// Removes a job that does not run.
    fn remove(&mut self, seq: u64, now: Timestamp) {
        self.leave(seq);
        let Some(job) = self.jobs.remove(seq) else { return };
        self.lines[job.line].by_state[job.record.state.code() as usize] -= 1;
        self.ids.remove(&job.record.spec.id, seq);
        if let Some(unique) = job.record.spec.unique
            && self.live_keys.get(&unique.key) == Some(&seq)
        {
            self.live_keys.remove(&unique.key);
        }
        self.removed += 1;
        self.free(exclusive::key_of(&job.record), job.record.state, None, now);
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let now = self.env.wall();
        let answers = self.inner.lock().enqueue(jobs, now);
        self.waker.wake();
        Ok(answers)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let (now, mono, boot) = (self.env.wall(), self.env.monotonic(), self.env.boot());
        Ok(self.inner.lock().claim(request, now, mono, boot))
    }

    async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
        let (mono, boot) = (self.env.monotonic(), self.env.boot());
        Ok(self.inner.lock().extend(request, mono, &boot))
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
        let now = self.env.wall();
        let answers = {
            let mut inner = self.inner.lock();
            batch.into_iter().map(|finish| inner.finish(finish, now)).collect()
        };
        self.waker.wake();
        Ok(answers)
    }

    async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>> {
        let answers = {
            let mut inner = self.inner.lock();
            reports.iter().map(|report| inner.report(report)).collect()
        };
        self.waker.wake();
        Ok(answers)
    }

    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
        let promoted = self.inner.lock().promote(rules, self.env.wall());
        if promoted.moved > 0 {
            self.waker.wake();
        }
        Ok(promoted)
    }

    async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
        let (now, mono, boot) = (self.env.wall(), self.env.monotonic(), self.env.boot());
        let rescued = self.inner.lock().rescue(rules, now, mono, &boot);
        if !rescued.jobs.is_empty() {
            self.waker.wake();
        }
        Ok(rescued)
    }

    async fn cancelled(&self, after: Option<u64>) -> Result<CancelLog> {
        let inner = self.inner.lock();
        let past = |after: u64| inner.wishes.iter().filter(move |(number, _)| *number > after);
        let wishes = after.map(|after| past(after).map(|(_, wish)| wish.clone()).collect()).unwrap_or_default();
        Ok(CancelLog { wishes, last: inner.last_wish })
    }

    fn wakeups(&self) -> WakeUps {
        self.waker.subscribe()
    }
}

impl Backend for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn durability(&self) -> String {
        "none: jobs live as long as the process".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> String {
        "memory:".into()
    }
}
