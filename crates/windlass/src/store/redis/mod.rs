//! The Redis store: Asynq's keys and messages, so that Go and Rust share queues. What Asynq has no word for is in keys
//! under `asynq:{queue}:x:` and in extra fields of a task's hash, which Go ignores.
//!
//! - `address.rs`: the URL. `link.rs`, `hints.rs`: the connections. `calm.rs`: what an idle server need not ask.
//!   `clock.rs`: whose time it is. `scripts.rs` and `lua/`: every change is one script on one queue's slot. `wire.rs`,
//!   `encode.rs`, `record.rs`, `pack.rs`, `reply.rs`: messages and answers. `queues.rs`: all queues, each for itself.
//! - `checkup.rs`: what the server says of itself. `ops/`: the contract's calls, put together from scripts.
//!
//! Atomic per queue: a call that touches several queues is a step in each, in order, and may be repeated as a whole.

mod address;
mod calm;
mod checkup;
mod clock;
mod encode;
mod hints;
mod link;
mod ops;
mod pack;
mod queues;
mod record;
mod reply;
mod scripts;
mod wire;

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
};

use ::redis::Value;
use async_trait::async_trait;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tracing::debug;
use uuid::Uuid;

use self::{
    address::Address,
    calm::Calm,
    clock::{Clock, Time},
    hints::Hints,
    link::Link,
    scripts::Script,
};
use super::*;
use crate::job::{GroupKey, GroupMember, JobSpec, LockName, Monotonic};

/// A store in a Redis (or Valkey) server, shared with Go's Asynq.
pub struct RedisStore(Arc<Shared>);

/// What the calls share.
struct Shared {
    address: Address,
    env: Env,
    link: Link,
    clock: Clock,
    waker: Waker,
    calm: Arc<Calm>,
    /// The highest place or fence that any queue has given: a script gives higher ones.
    top: AtomicI64,
    /// The queues that are known to be registered; those of them whose names we have noted beside Asynq.
    queues: Mutex<BTreeSet<QueueName>>,
    noted: Mutex<BTreeSet<QueueName>>,
    /// The queues that are noted to have schedules.
    scheduled: Mutex<BTreeSet<QueueName>>,
    /// Troubles with single queues that were told of.
    told: Mutex<BTreeSet<String>>,
    /// How far this process has looked through queues for kinds that nobody handles.
    rounds: Mutex<FxHashMap<QueueName, ops::unknown::Round>>,
    /// Since when claims of this process have found nothing in a queue.
    idle: Mutex<FxHashMap<QueueName, Monotonic>>,
    /// When this process last looked whom holders block that are none any more, and found nobody.
    unblocked: Mutex<Option<Monotonic>>,
    /// The jobs that this process holds.
    held: Mutex<FxHashMap<JobId, Held>>,
    /// What comes in while other jobs of its queue are on their way.
    gathered: Mutex<ops::gather::Gathered>,
    /// Of each queue, how often a look at what is over is wished for, while one is under way.
    tidying: Mutex<BTreeMap<QueueName, usize>>,
    /// When servers of this process left. Queues that are made later do not know of it.
    left: Mutex<FxHashMap<ServerId, Monotonic>>,
    /// When claims and servers of long ago were last forgotten.
    forgot: Mutex<Option<Monotonic>>,
    /// When names of locks that nobody uses were last looked for.
    looked_for_locks: Mutex<Option<Monotonic>>,
    /// What Asynq's tools were last shown of servers of this process, and when.
    shown: Mutex<FxHashMap<ServerId, (Monotonic, Vec<u8>)>>,
    /// When this process last saw to it that they are shown our schedules.
    entries_shown: Mutex<Option<Monotonic>>,
}

/// A job that this process holds, as its claim was told.
struct Held {
    queue: QueueName,
    spec: Arc<JobSpec>,
    fence: Fence,
    created: Timestamp,
    waited: Duration,
    /// It leaves nothing behind when it completes: no retention, no unique key.
    plain: bool,
}

impl RedisStore {
    /// Opens `redis://[user:password@]host[:port][/db]`, `rediss://..` or `redis+unix:///path`, with the parameters
    /// `prefix=asynq`, `timeout=5s` and `keep_failed=90d`.
    ///
    /// # Errors
    /// `Invalid` for a URL that cannot be read or a password that is refused, `Unavailable` for a server that does not
    /// answer, `Unsupported` for one older than Redis 6.2 or one that is a replica.
    pub async fn open(url: &str, env: Env) -> Result<Self> {
        Self::open_with(url, env, Time::Server).await
    }

    /// The one hook for tests that move time: every script goes by the wall clock of `env` instead of the server's
    /// `TIME`, and takes a new boot of it for a new start of the server.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    #[cfg(feature = "testing")]
    pub async fn open_on_clock_of(url: &str, env: Env) -> Result<Self> {
        Self::open_with(url, env, Time::Env).await
    }

    async fn open_with(url: &str, env: Env, time: Time) -> Result<Self> {
        let address = Address::parse(url)?;
        let waker = Waker::new();
        let (cancels, told) = mpsc::unbounded_channel();
        let calm = Arc::new(Calm::new(time == Time::Server));
        let hints = Hints { waker: waker.clone(), calm: calm.clone(), cancels };
        let shared = Arc::new(Shared {
            link: Link::start(address.clone(), &env, hints)?,
            clock: Clock::new(env.clone(), time),
            address,
            env,
            waker,
            calm,
            top: AtomicI64::new(0),
            queues: Mutex::default(),
            noted: Mutex::default(),
            scheduled: Mutex::default(),
            told: Mutex::default(),
            rounds: Mutex::default(),
            unblocked: Mutex::default(),
            idle: Mutex::default(),
            held: Mutex::default(),
            gathered: Mutex::default(),
            tidying: Mutex::default(),
            left: Mutex::default(),
            forgot: Mutex::default(),
            looked_for_locks: Mutex::default(),
            shown: Mutex::default(),
            entries_shown: Mutex::default(),
        });
        ops::open::check(&shared).await?;
        shared.env.spawn(heed_gos_cancels(Arc::downgrade(&shared), told));
        Ok(Self(shared))
    }

    /// Runs a call in a task of its own, so that a caller who gives up leaves no step half done, and what it waits for
    /// is timed by the loop of the store's `Env`, wherever the caller runs.
    async fn whole<A, F>(&self, call: impl FnOnce(Arc<Shared>) -> F) -> Result<A>
    where
        A: Send + 'static,
        F: Future<Output = Result<A>> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        let call = call(self.0.clone());
        self.0.env.spawn(async move {
            // A caller who gave up needs no answer.
            let _ = done.send(call.await);
        });
        answer.await.map_err(|_| StoreError::Unavailable("the call was interrupted".into()))?
    }

    /// The same for what changes jobs: whatever is known of a calm store is not, from before it on.
    async fn changing<A, F>(&self, call: impl FnOnce(Arc<Shared>) -> F + Send) -> Result<A>
    where
        A: Send + 'static,
        F: Future<Output = Result<A>> + Send + 'static,
    {
        self.0.calm.stir();
        let answer = self.whole(call).await;
        self.0.calm.stir();
        answer
    }
}

/// Lets runs of this process hear of Asynq's cancels, as long as the store is open.
async fn heed_gos_cancels(store: Weak<Shared>, mut told: mpsc::UnboundedReceiver<String>) {
    while let Some(id) = told.recv().await {
        let Some(store) = store.upgrade() else { return };
        // A hint, as it is for Go's workers: it is not repeated.
        if let Err(error) = ops::cancel::by_go(&store, &id).await {
            debug!(%error, job.id = id, "a cancel of Go's was not heeded");
        }
    }
}

impl Shared {
    /// The prefix of a queue's keys. Its braces put them all into one slot of a cluster.
    fn queue_key(&self, queue: &QueueName) -> String {
        format!("{}:{{{queue}}}:", self.address.prefix)
    }

    /// The prefix of the few keys that are the whole store's.
    fn store_key(&self) -> String {
        format!("{}:x:{{store}}:", self.address.prefix)
    }

    fn plain_key(&self, name: &str) -> String {
        format!("{}:{name}", self.address.prefix)
    }

    /// Runs a script on a queue.
    async fn on(&self, queue: &QueueName, script: &Script, args: impl IntoIterator<Item = Vec<u8>>) -> Result<Value> {
        self.link.eval(script, &self.queue_key(queue), &self.call_args(args)).await
    }

    /// What scripts on a queue take before their own arguments: see `lua/lib/core.lua`.
    fn call_args(&self, args: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = self.clock.moment().map(String::into_bytes).to_vec();
        all.push(self.top.load(Ordering::Relaxed).to_string().into_bytes());
        all.extend(args);
        all
    }

    /// Runs a script on the few keys that are the whole store's.
    async fn on_store(&self, script: &Script, args: Vec<Vec<u8>>) -> Result<Value> {
        self.link.eval(script, &self.store_key(), &args).await
    }

    fn note_top(&self, top: i64) {
        self.top.fetch_max(top, Ordering::Relaxed);
    }
}

/// A value of a script's arguments.
fn arg(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[async_trait]
impl Store for RedisStore {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.changing(async move |store| ops::enqueue::enqueue(store, jobs).await).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let request = request.clone();
        self.whole(async move |store| ops::calm::claim(&store, &request).await).await
    }

    async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
        let request = request.clone();
        self.whole(async move |store| ops::lease::extend(&store, &request).await).await
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
        self.changing(async move |store| ops::finish::finish(&store, batch).await).await
    }

    async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>> {
        self.whole(async move |store| ops::report::report(&store, &reports).await).await
    }

    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
        let rules = rules.clone();
        self.whole(async move |store| ops::calm::promote(&store, &rules).await).await
    }

    async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
        let rules = *rules;
        self.whole(async move |store| ops::calm::rescue(&store, &rules).await).await
    }

    async fn cancelled(&self, after: Option<u64>) -> Result<CancelLog> {
        self.whole(async move |store| ops::cancel::read(&store, after).await).await
    }

    fn wakeups(&self) -> WakeUps {
        self.0.waker.subscribe()
    }
}

#[async_trait]
impl Inspect for RedisStore {
    async fn get(&self, id: &JobId) -> Result<Option<JobRecord>> {
        let id = id.clone();
        self.whole(async move |store| ops::read::get(&store, &id).await).await
    }

    async fn list(&self, filter: &JobFilter, after: Option<Cursor>, limit: u32) -> Result<JobPage> {
        let filter = filter.clone();
        self.whole(async move |store| ops::list::list(&store, &filter, after, limit).await).await
    }

    async fn census(&self) -> Result<Census> {
        self.whole(async move |store| ops::read::census(&store).await).await
    }

    async fn outstanding(&self, queues: &[QueueName], kinds: &KindFilter, groups: &[Pattern]) -> Result<u64> {
        let (queues, kinds, groups) = (queues.to_vec(), kinds.clone(), groups.to_vec());
        self.whole(async move |store| ops::scan::outstanding(&store, &queues, &kinds, &groups).await).await
    }

    async fn tallies(&self, since: Timestamp) -> Result<Tallies> {
        self.whole(async move |store| ops::tallies::tallies(&store, since).await).await
    }

    async fn servers(&self) -> Result<Vec<ServerInfo>> {
        self.whole(async move |store| Ok(ops::cluster::servers(&store, false).await?.live)).await
    }

    async fn checkup(&self) -> Result<Vec<Check>> {
        self.whole(async move |store| ops::open::checkup(&store).await).await
    }

    async fn cpu(&self) -> Result<Option<Duration>> {
        self.whole(async move |store| ops::read::cpu(&store).await).await
    }
}

#[async_trait]
impl Operate for RedisStore {
    async fn operate(&self, id: &JobId, action: &Action) -> Result<Operated> {
        let (id, action) = (id.clone(), action.clone());
        self.changing(async move |store| ops::operate::operate(&store, &id, &action).await).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool> {
        let queue = queue.clone();
        self.changing(async move |store| ops::operate::pause(&store, &queue, paused).await).await
    }

    async fn prune(&self, what: &Prune, limit: u32) -> Result<Pruned> {
        let what = what.clone();
        self.whole(async move |store| ops::prune::prune(&store, &what, limit).await).await
    }
}

#[async_trait]
impl Cluster for RedisStore {
    async fn beat(&self, server: &ServerInfo) -> Result<()> {
        let server = server.clone();
        self.whole(async move |store| ops::cluster::beat(&store, &server).await).await
    }

    async fn leave(&self, server: ServerId) -> Result<()> {
        self.whole(async move |store| ops::cluster::leave(&store, server).await).await
    }

    async fn sweep_unknown(&self, after: Duration, limit: u32) -> Result<u32> {
        self.whole(async move |store| ops::unknown::sweep_unknown(&store, after, limit).await).await
    }
}

#[async_trait]
impl Groups for RedisStore {
    async fn groups(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32) -> Result<GroupPage> {
        self.whole(async move |store| ops::groups::page(&store, queue, after, limit).await).await
    }

    async fn members(&self, group: &GroupKey, limit: u32) -> Result<Vec<GroupMember>> {
        let group = group.clone();
        self.whole(async move |store| ops::groups::members(&store, &group, limit).await).await
    }

    async fn flush(&self, flush: &Flush) -> Result<Flushed> {
        flush.check()?;
        let flush = flush.clone();
        self.changing(async move |store| ops::groups::flush(&store, &flush).await).await
    }

    async fn ask_flush(&self, group: &GroupKey) -> Result<bool> {
        let group = group.clone();
        self.whole(async move |store| ops::groups::ask_flush(&store, &group).await).await
    }

    async fn delete_members(&self, group: &GroupKey, limit: u32) -> Result<u32> {
        let group = group.clone();
        self.changing(async move |store| ops::groups::delete_members(&store, &group, limit).await).await
    }
}

#[async_trait]
impl Locks for RedisStore {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
        request.check()?;
        let request = request.clone();
        self.whole(async move |store| ops::locks::acquire(&store, &request).await).await
    }

    async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
        locks::check_ttl(ttl)?;
        let hold = hold.clone();
        self.whole(async move |store| ops::locks::extend(&store, &hold, ttl).await).await
    }

    async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool> {
        let name = name.clone();
        self.whole(async move |store| ops::locks::release(&store, &name, token, fence).await).await
    }

    async fn locks(&self, after: Option<LockName>, limit: u32) -> Result<LockPage> {
        self.whole(async move |store| ops::locks::page(&store, after.as_ref(), limit).await).await
    }

    async fn break_lock(&self, name: &LockName) -> Result<u32> {
        let name = name.clone();
        self.whole(async move |store| ops::locks::break_lock(&store, &name).await).await
    }
}

#[async_trait]
impl Schedules for RedisStore {
    async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
        change.check()?;
        let change = change.clone();
        self.changing(async move |store| ops::schedules::change(&store, &change).await).await
    }

    async fn schedules(&self, after: Option<ScheduleKey>, limit: u32) -> Result<StoredSchedules> {
        self.whole(async move |store| ops::schedules::page(&store, after.as_ref(), limit).await).await
    }

    async fn schedules_named(&self, name: &str) -> Result<StoredSchedules> {
        let name = name.to_owned();
        self.whole(async move |store| ops::schedules::named(&store, &name).await).await
    }

    async fn schedule_history(&self, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Result<Vec<ScheduleLine>> {
        let key = key.clone();
        self.whole(async move |store| ops::schedules::history(&store, &key, before, limit).await).await
    }

    async fn foreign_schedules(&self) -> Result<Vec<ForeignSchedule>> {
        self.whole(async move |store| ops::entries::of_go(&store).await).await
    }
}

impl Backend for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn durability(&self) -> String {
        "as durable as your Redis: what it has not yet synced (appendfsync) or copied is lost with it".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> String {
        self.0.address.shown.clone()
    }
}
