//! The SQLite store: one file, shared by any number of processes of one host.
//!
//! - `writer.rs`: the one thread that writes, in groups. `readers.rs`: looking, apart from it. `watch.rs`: wake-ups
//!   between processes. `identity.rs`: whether the file is still in its place. `open.rs`, `migrate.rs`, `tables.rs`: the file and its tables. `address.rs`: the URL.
//! - `ops/`: the operations over a `step.rs` (one transaction); their SQL is in `sql/`. `tx.rs` runs them in the
//!   caller's own transaction.

mod address;
mod checkup;
mod clock;
#[cfg(target_os = "linux")]
mod disk;
mod fault;
mod identity;
mod lines;
mod migrate;
mod open;
mod ops;
mod readers;
mod rows;
mod step;
mod tables;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod tx;
mod watch;
mod writer;

use std::{
    any::Any,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::oneshot;
use uuid::Uuid;

pub(super) use self::tables::tables;
use self::{
    address::Address,
    clock::Clock,
    fault::Done,
    lines::Lines,
    readers::Readers,
    step::Step,
    watch::Watch,
    writer::{Call, Writer},
};
use super::*;
use crate::job::{GroupKey, GroupMember, LockName};

/// A store in an SQLite file.
pub struct SqliteStore {
    address: Address,
    env: Env,
    store_id: String,
    waker: Waker,
    // Dropped in this order: nobody is told of writes that no longer come.
    _watch: Watch,
    readers: Readers,
    writer: Writer,
}

impl SqliteStore {
    /// Opens `path?synchronous=full|normal|off&busy_timeout=30s&keep_failed=90d`: what follows `sqlite:` in a URL.
    ///
    /// # Errors
    /// `Invalid` for a parameter that is not there, `Unavailable` for a path that cannot be opened, created or written
    /// (or is on a network file system), `Corrupt` for a file that is foreign, damaged or newer, `Unsupported` when the
    /// program is linked with an SQLite older than 3.51.3.
    pub async fn open(rest: &str, create: Create, env: Env) -> Result<Self> {
        let address = Address::parse(rest)?;
        let task = move || Self::open_blocking(address, create, env);
        let opened = tokio::task::spawn_blocking(task).await;
        opened.map_err(|error| StoreError::Unavailable(format!("opening the store was interrupted: {error}")))?
    }

    fn open_blocking(address: Address, create: Create, env: Env) -> Result<Self> {
        let conn = open::writer(&address, create, &env)?;
        let store_id = migrate::store_id(&conn).map_err(StoreError::from)?;
        let counters = step::Counters::read(&conn).map_err(StoreError::from)?;
        let (waker, seen) = (Waker::new(), Arc::new(AtomicI64::new(counters.wake)));
        let readers = Readers::start(&address, &env)?;
        let watch = Watch::start(&address, waker.clone(), seen.clone());
        let writer = Writer::start(conn, &address, env.clone(), waker.clone(), seen)?;
        Ok(Self { address, env, store_id, waker, _watch: watch, readers, writer })
    }

    fn store_id(&self) -> &str {
        &self.store_id
    }

    fn env(&self) -> &Env {
        &self.env
    }

    fn keep_failed(&self) -> Duration {
        self.address.keep_failed
    }

    /// Something acknowledged as durable.
    async fn write<A: Send + 'static>(&self, work: impl FnMut(&mut Step<'_>) -> Done<A> + Send + 'static) -> Result<A> {
        self.call(false, true, None, Box::new(work)).await
    }

    /// Something that costs nothing when it is lost, and is not even begun when a look is enough.
    async fn step<A: Send + 'static>(
        &self,
        peek: impl FnMut(&rusqlite::Connection, &mut Lines, &Clock) -> Done<Option<A>> + Send + 'static,
        work: impl FnMut(&mut Step<'_>) -> Done<A> + Send + 'static,
    ) -> Result<A> {
        self.call(false, false, Some(Box::new(peek)), Box::new(work)).await
    }

    async fn call<A: Send + 'static>(
        &self,
        urgent: bool,
        durable: bool,
        peek: Option<writer::Peek<A>>,
        work: writer::Work<A>,
    ) -> Result<A> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Box::new(Call { urgent, durable, peek, work, done: None, reply }));
        answer.await.map_err(|_| StoreError::Unavailable("the store's writer has ended".into()))?
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.write(move |step| ops::enqueue::enqueue(step, &jobs)).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let request = Arc::new(request.clone());
        let peeked = request.clone();
        self.step(
            move |conn, lines, clock| ops::claim::peek(conn, lines, clock, &peeked),
            move |step| ops::claim::claim(step, &request),
        )
        .await
    }

    async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
        let request = request.clone();
        self.call(true, false, None, Box::new(move |step| ops::lease::extend(step, &request))).await
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
        self.write(move |step| ops::finish::finish(step, &batch)).await
    }

    async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>> {
        let durable = reports.iter().any(|report| report.news.checkpoint.is_some());
        self.call(false, durable, None, Box::new(move |step| ops::report::report(step, &reports))).await
    }

    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
        let rules = Arc::new(rules.clone());
        let peeked = rules.clone();
        self.step(
            move |conn, lines, clock| ops::promote::peek(conn, lines, clock, &peeked),
            move |step| ops::promote::promote(step, &rules),
        )
        .await
    }

    async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
        let rules = *rules;
        self.call(false, false, None, Box::new(move |step: &mut Step<'_>| ops::sweep::rescue(step, &rules))).await
    }

    async fn cancelled(&self, after: Option<u64>) -> Result<CancelLog> {
        self.readers.look(move |conn, _| ops::read::cancelled(conn, after)).await
    }

    fn wakeups(&self) -> WakeUps {
        self.waker.subscribe()
    }
}

#[async_trait]
impl Inspect for SqliteStore {
    async fn get(&self, id: &JobId) -> Result<Option<JobRecord>> {
        let id = id.clone();
        self.readers.look(move |conn, clock| ops::read::get(conn, clock, &id)).await
    }

    async fn list(&self, filter: &JobFilter, after: Option<Cursor>, limit: u32) -> Result<JobPage> {
        let filter = filter.clone();
        self.readers.look(move |conn, clock| ops::read::list(conn, clock, &filter, after, limit)).await
    }

    async fn census(&self) -> Result<Census> {
        self.readers.look(ops::read::census).await
    }

    async fn outstanding(&self, queues: &[QueueName], kinds: &KindFilter, groups: &[Pattern]) -> Result<u64> {
        let (queues, kinds, groups) = (queues.to_vec(), kinds.clone(), groups.to_vec());
        self.readers.look(move |conn, _| ops::read::outstanding(conn, &queues, &kinds, &groups)).await
    }

    async fn tallies(&self, since: Timestamp) -> Result<Tallies> {
        self.readers.look(move |conn, _| ops::read::tallies(conn, since)).await
    }

    async fn servers(&self) -> Result<Vec<ServerInfo>> {
        self.readers.look(|conn, clock| ops::read::live_servers(conn, clock.now)).await
    }

    async fn checkup(&self) -> Result<Vec<Check>> {
        let address = self.address.clone();
        self.readers.look(move |conn, _| checkup::checkup(conn, &address)).await
    }
}

#[async_trait]
impl Operate for SqliteStore {
    async fn operate(&self, id: &JobId, action: &Action) -> Result<Operated> {
        let (id, action) = (id.clone(), action.clone());
        self.write(move |step| ops::operate::operate(step, &id, &action)).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool> {
        let queue = queue.clone();
        self.write(move |step| ops::operate::pause(step, &queue, paused)).await
    }

    async fn prune(&self, what: &Prune, limit: u32) -> Result<Pruned> {
        let what = what.clone();
        let peeked = what.clone();
        self.step(
            move |conn, _, clock| ops::prune::peek(conn, clock, &peeked),
            move |step| ops::prune::prune(step, &what, limit),
        )
        .await
    }
}

#[async_trait]
impl Cluster for SqliteStore {
    async fn beat(&self, server: &ServerInfo) -> Result<()> {
        let body = serde_json::to_string(server).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let id = server.id;
        let work = move |step: &mut Step<'_>| ops::cluster::beat(step, id, &body);
        self.call(true, false, None, Box::new(work)).await
    }

    async fn leave(&self, server: ServerId) -> Result<()> {
        self.call(false, false, None, Box::new(move |step: &mut Step<'_>| ops::cluster::leave(step, server))).await
    }

    async fn sweep_unknown(&self, after: Duration, limit: u32) -> Result<u32> {
        self.call(
            false,
            false,
            None,
            Box::new(move |step: &mut Step<'_>| ops::sweep::sweep_unknown(step, after, limit)),
        )
        .await
    }
}

#[async_trait]
impl Groups for SqliteStore {
    async fn groups(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32) -> Result<GroupPage> {
        let look = move |conn: &rusqlite::Connection, clock: &Clock| {
            ops::groups::groups(conn, clock, queue.as_ref(), after.as_ref(), limit)
        };
        self.readers.look(look).await
    }

    async fn members(&self, group: &GroupKey, limit: u32) -> Result<Vec<GroupMember>> {
        let group = group.clone();
        self.readers.look(move |conn, clock| ops::groups::members(conn, clock, &group, limit)).await
    }

    async fn flush(&self, flush: &Flush) -> Result<Flushed> {
        flush.check()?;
        let flush = flush.clone();
        self.write(move |step| ops::groups::flush(step, &flush)).await
    }

    async fn ask_flush(&self, group: &GroupKey) -> Result<bool> {
        let group = group.clone();
        self.write(move |step| ops::groups::ask_flush(step, &group)).await
    }

    async fn delete_members(&self, group: &GroupKey, limit: u32) -> Result<u32> {
        let group = group.clone();
        self.write(move |step| ops::groups::delete_members(step, &group, limit)).await
    }
}

#[async_trait]
impl Locks for SqliteStore {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
        request.check()?;
        let request = Arc::new(request.clone());
        let peeked = request.clone();
        // Durable: no fence of a hold that somebody heard of is given again, whatever the clock says after a power cut.
        self.call(
            false,
            true,
            Some(Box::new(move |conn, _, clock| ops::locks::peek(conn, clock, &peeked))),
            Box::new(move |step: &mut Step<'_>| ops::locks::acquire(step, &request)),
        )
        .await
    }

    async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
        locks::check_ttl(ttl)?;
        let hold = hold.clone();
        let work = move |step: &mut Step<'_>| ops::locks::extend(step, &hold, ttl);
        self.call(true, false, None, Box::new(work)).await
    }

    async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool> {
        let name = name.clone();
        let work = move |step: &mut Step<'_>| ops::locks::release(step, &name, token, fence);
        self.call(false, false, None, Box::new(work)).await
    }

    async fn locks(&self, after: Option<LockName>, limit: u32) -> Result<LockPage> {
        self.readers.look(move |conn, clock| ops::locks::page(conn, clock, after.as_ref(), limit)).await
    }

    async fn break_lock(&self, name: &LockName) -> Result<u32> {
        let name = name.clone();
        self.write(move |step| ops::locks::break_lock(step, &name)).await
    }
}

#[async_trait]
impl Schedules for SqliteStore {
    async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
        change.check()?;
        let change = change.clone();
        self.write(move |step| ops::schedules::change(step, &change)).await
    }

    async fn schedules(&self, after: Option<ScheduleKey>, limit: u32) -> Result<StoredSchedules> {
        self.readers.look(move |conn, clock| ops::schedules::list(conn, clock, after.as_ref(), limit)).await
    }

    async fn schedules_named(&self, name: &str) -> Result<StoredSchedules> {
        let name = name.to_owned();
        self.readers.look(move |conn, clock| ops::schedules::named(conn, clock, &name)).await
    }

    async fn schedule_history(&self, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Result<Vec<ScheduleLine>> {
        let key = key.clone();
        self.readers.look(move |conn, _| ops::schedules::history(conn, &key, before, limit)).await
    }
}

impl Backend for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn durability(&self) -> String {
        self.address.synchronous.promise().into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> String {
        format!("sqlite:{}", self.address.path.display())
    }
}
