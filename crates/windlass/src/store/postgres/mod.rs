//! The Postgres store: tables in a schema of their own, in the database of the application or another one.
//!
//! - `address.rs`: the URL. `tls.rs`, `link.rs`, `hints.rs`: the connections. `clock.rs`: whose time it is.
//!   `migrate.rs`, `tables.rs`: the tables and functions. `encode.rs`, `rows.rs`, `fault.rs`: what goes there and comes back.
//! - `marks.rs`: where claims begin to look. `checkup.rs`, `health.rs`: what the server and the tables say of themselves.
//!   `ops/`: the contract's calls; their SQL is in `sql/`. `tx.rs`: the same
//!   in the caller's own transactions.
//!
//! Each call is one statement or one call of a function in the database, so it happens whole or not at all, needs no state
//! of a session, and may be given up half-way.

mod address;
mod checkup;
mod clock;
mod encode;
mod fault;
mod health;
mod hints;
mod link;
mod marks;
mod migrate;
mod ops;
mod rows;
mod tables;
mod tls;
mod tx;

use std::{
    any::Any,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};
use uuid::Uuid;

pub(super) use self::tables::tables;
use self::{
    address::Address,
    clock::{Clock, Time},
    hints::{Listener, Teller},
    link::{Abandoned, Link},
    marks::Marks,
    tls::Tls,
};
use super::*;
use crate::job::{GroupKey, GroupMember, LockName};

/// After so many changes a process adds up the ledger, should no server do so.
const FOLD_EVERY: u32 = 256;

/// A store in a Postgres database.
pub struct PostgresStore {
    shared: Arc<Shared>,
    /// Ends the connection for hints.
    _listening: DropGuard,
}

/// What the calls share.
struct Shared {
    address: Address,
    link: Link,
    clock: Clock,
    waker: Waker,
    teller: Teller,
    abandoned: Abandoned,
    /// Claims of this process go one after the other: one that overtook another would let it get nothing.
    claims: tokio::sync::Mutex<Marks>,
    /// Where the first due job is that was held back.
    fronts: parking_lot::Mutex<ops::promote::Fronts>,
    /// Calls that bring in jobs, until the next step takes them.
    gathered: parking_lot::Mutex<ops::gather::Gathered>,
    changes: AtomicU32,
    /// The id that tells this store from every other one.
    store_id: OnceLock<String>,
}

impl PostgresStore {
    /// Opens `postgres://[user[:password]@]host[:port]/database` with the parameters `schema=windlass`, `pool=5`,
    /// `timeout=10s`, `keep_failed=90d`, `migrate=on|off`, `notify=on|off`, `relaxed=queue,..`, `sslmode=`, `ca=`, and makes the tables if they
    /// are not there.
    ///
    /// # Errors
    /// `Invalid` for a URL that cannot be read, a user or a database that is refused; `Unavailable` for a server that does
    /// not answer, or tables that are missing and may not be made; `Unsupported` for a server older than PostgreSQL 13 or
    /// one that is a standby; `Corrupt` for a schema that is foreign or newer.
    pub async fn open(url: &str, create: Create, env: Env) -> Result<Self> {
        Self::open_with(url, create, env, Time::Server).await
    }

    /// The one hook for tests that move time: every function goes by the wall clock of `env` instead of the server's, and
    /// takes a new boot of it for a new start of the server.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    #[cfg(feature = "testing")]
    pub async fn open_on_clock_of(url: &str, env: Env) -> Result<Self> {
        Self::open_with(url, Create::IfMissing, env, Time::Env).await
    }

    async fn open_with(url: &str, create: Create, env: Env, time: Time) -> Result<Self> {
        let address = Address::parse(url)?;
        let shared = Arc::new(Shared {
            link: Link::start(address.clone(), &env)?,
            clock: Clock::new(env.clone(), time),
            waker: Waker::new(),
            teller: Teller::default(),
            abandoned: Abandoned::default(),
            claims: tokio::sync::Mutex::default(),
            fronts: parking_lot::Mutex::default(),
            gathered: parking_lot::Mutex::default(),
            changes: AtomicU32::new(0),
            store_id: OnceLock::new(),
            address,
        });
        let stop = CancellationToken::new();
        let store = Self { shared, _listening: stop.clone().drop_guard() };
        store.whole(async move |store| prepare(&store, create).await).await?;
        if store.shared.address.notify {
            store.shared.listen(env, stop)?;
        }
        Ok(store)
    }

    /// Runs a call to its end on the store's loop, whoever stops waiting for it.
    async fn whole<A, F>(&self, call: impl FnOnce(Arc<Shared>) -> F) -> Result<A>
    where
        A: Send + 'static,
        F: Future<Output = Result<A>> + Send + 'static,
    {
        self.shared.abandoned.ended().await;
        self.at_once(call).await
    }

    /// The same for what must not wait for others: signs of life.
    async fn at_once<A, F>(&self, call: impl FnOnce(Arc<Shared>) -> F) -> Result<A>
    where
        A: Send + 'static,
        F: Future<Output = Result<A>> + Send + 'static,
    {
        let (ends, waits) = self.shared.abandoned.call();
        let call = call(self.shared.clone());
        let answer = self.shared.link.spawn(async move {
            let _ends = ends;
            call.await
        });
        let answer = answer.await;
        drop(waits);
        answer.map_err(|_| StoreError::Unavailable("the connections' loop has ended".into()))?
    }

    /// The same for what changes jobs: whoever waits is told once it is done.
    async fn changing<A, F>(&self, call: impl FnOnce(Arc<Shared>) -> F) -> Result<A>
    where
        A: Send + 'static,
        F: Future<Output = Result<A>> + Send + 'static,
    {
        let calling = |store: Arc<Shared>| {
            let call = call(store.clone());
            async move {
                let answer = call.await;
                store.changed().await;
                answer
            }
        };
        self.whole(calling).await
    }
}

async fn prepare(store: &Shared, create: Create) -> Result<()> {
    let found = checkup::at_open(&store.link).await?;
    checkup::refuse(&found)?;
    for check in found.iter().filter(|check| check.level > Level::Ok) {
        warn!(check = check.name, "{}; {}", check.found, check.advice.as_deref().unwrap_or_default());
    }
    migrate::migrate(&store.link, &store.address, create).await?;
    let row = store.link.row("SELECT value FROM windlass.meta WHERE name = 'store_id'", &[]).await?;
    store.store_id.get_or_init(|| row.get(0));
    ops::read::clocks(store).await.map(drop)
}

impl Shared {
    fn listen(&self, env: Env, stop: CancellationToken) -> Result<()> {
        let listener = Listener {
            address: self.address.clone(),
            tls: Tls::new(&self.address)?,
            env,
            waker: self.waker.clone(),
            teller: self.teller.clone(),
        };
        drop(self.link.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listener.run() => {}
            }
        }));
        Ok(())
    }

    fn store_id(&self) -> &str {
        self.store_id.get().map_or("", String::as_str)
    }

    /// Somebody who waits should look: here, and in other processes.
    fn tell(&self) {
        self.waker.wake();
        self.teller.tell();
    }

    /// The same, and now and then the ledger is added up.
    async fn changed(&self) {
        self.tell();
        if self.changes.fetch_add(1, Ordering::Relaxed) % FOLD_EVERY == FOLD_EVERY - 1
            && let Err(error) = self.link.rows("SELECT windlass.fold(5000)", &[]).await
        {
            // The next one, or a server's sweep, does it.
            debug!(%error, "the ledger was not added up");
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.changing(async move |store| ops::gather::enqueue(store, jobs).await).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let request = request.clone();
        self.whole(async move |store| ops::claim::claim(&store, &request).await).await
    }

    async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
        let request = request.clone();
        self.at_once(async move |store| ops::lease::extend(&store, &request).await).await
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
        self.changing(async move |store| ops::finish::finish(&store, &batch).await).await
    }

    async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>> {
        self.changing(async move |store| ops::finish::report(&store, &reports).await).await
    }

    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
        let rules = rules.clone();
        let promote = async move |store: Arc<Shared>| {
            let promoted = ops::promote::promote(&store, &rules).await?;
            if promoted.moved > 0 {
                store.changed().await;
            }
            Ok(promoted)
        };
        self.whole(promote).await
    }

    async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
        let rules = *rules;
        let rescue = async move |store: Arc<Shared>| {
            let rescued = ops::lease::rescue(&store, &rules).await?;
            if !rescued.jobs.is_empty() {
                store.changed().await;
            }
            Ok(rescued)
        };
        self.whole(rescue).await
    }

    async fn cancelled(&self, after: Option<u64>) -> Result<CancelLog> {
        self.at_once(async move |store| ops::read::cancelled(&store, after).await).await
    }

    fn wakeups(&self) -> WakeUps {
        self.shared.waker.subscribe()
    }
}

#[async_trait]
impl Inspect for PostgresStore {
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
        self.whole(async move |store| ops::read::outstanding(&store, &queues, &kinds, &groups).await).await
    }

    async fn tallies(&self, since: Timestamp) -> Result<Tallies> {
        self.whole(async move |store| ops::tallies::tallies(&store, since).await).await
    }

    async fn servers(&self) -> Result<Vec<ServerInfo>> {
        self.whole(async move |store| ops::read::servers(&store).await).await
    }

    async fn checkup(&self) -> Result<Vec<Check>> {
        self.whole(async move |store| checkup::checkup(&store).await).await
    }

    async fn cpu(&self) -> Result<Option<Duration>> {
        self.whole(async move |store| checkup::cpu(&store).await).await
    }
}

#[async_trait]
impl Operate for PostgresStore {
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
impl Cluster for PostgresStore {
    async fn beat(&self, server: &ServerInfo) -> Result<()> {
        let server = server.clone();
        self.at_once(async move |store| ops::cluster::beat(&store, &server).await).await
    }

    async fn leave(&self, server: ServerId) -> Result<()> {
        self.whole(async move |store| ops::cluster::leave(&store, server).await).await
    }

    async fn sweep_unknown(&self, after: Duration, limit: u32) -> Result<u32> {
        let sweep = async move |store: Arc<Shared>| {
            let buried = ops::cluster::sweep_unknown(&store, after, limit).await?;
            if buried > 0 {
                store.changed().await;
            }
            Ok(buried)
        };
        self.whole(sweep).await
    }
}

#[async_trait]
impl Groups for PostgresStore {
    async fn groups(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32) -> Result<GroupPage> {
        self.whole(async move |store| ops::groups::groups(&store, queue.as_ref(), after.as_ref(), limit).await).await
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
impl Locks for PostgresStore {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
        request.check()?;
        let request = request.clone();
        self.whole(async move |store| ops::locks::acquire(&store, &request).await).await
    }

    async fn extend_lock(&self, hold: &Hold, ttl: Duration) -> Result<bool> {
        locks::check_ttl(ttl)?;
        let hold = hold.clone();
        self.at_once(async move |store| ops::locks::extend(&store, &hold, ttl).await).await
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
impl Schedules for PostgresStore {
    async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
        change.check()?;
        let change = change.clone();
        let change = async move |store: Arc<Shared>| {
            let changed = ops::schedules::change(&store, &change).await?;
            if !change.jobs.is_empty() && changed != ScheduleChanged::Conflict {
                store.changed().await;
            }
            Ok(changed)
        };
        self.whole(change).await
    }

    async fn schedules(&self, after: Option<ScheduleKey>, limit: u32) -> Result<StoredSchedules> {
        self.whole(async move |store| ops::schedules::list(&store, after.as_ref(), limit).await).await
    }

    async fn schedules_named(&self, name: &str) -> Result<StoredSchedules> {
        let name = name.to_owned();
        self.whole(async move |store| ops::schedules::named(&store, &name).await).await
    }

    async fn schedule_history(&self, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Result<Vec<ScheduleLine>> {
        let key = key.clone();
        self.whole(async move |store| ops::schedules::history(&store, &key, before, limit).await).await
    }
}

impl Backend for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn durability(&self) -> String {
        let all = "as durable as your Postgres commits: by itself (synchronous_commit) what was acknowledged survives a crash";
        match self.shared.address.relaxed.join(", ") {
            queues if queues.is_empty() => all.into(),
            queues => format!("{all}; but for the relaxed queues ({queues}), whose last moments it may cost"),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn place(&self) -> String {
        self.shared.address.shown.clone()
    }
}
