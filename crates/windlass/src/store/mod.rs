//! The store contract: small traits by who calls them, and `open(url)`.
//!
//! A store makes things durable and atomic; it decides nothing. What happens in normal life (a duplicate, a stale
//! lease, an operator's conflict) is a result, not an error. These traits are public for authors of other stores,
//! but exempt from semver; the conformance suite (feature `conformance`) says what they must do.

mod checkup;
mod groups;
mod locks;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
mod schedules;
mod schema;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod stats;
pub(crate) mod tx;
mod wakeups;

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{
    checkup::{Check, Level},
    groups::{Flush, Flushed, GroupPage, Groups, MEMBERS_BYTES},
    locks::{Hold, LockHolder, LockInfo, LockPage, LockReply, LockRequest, Locks, MAX_HOLDERS_SHOWN, MAX_SLOTS},
    schedules::{
        ForeignSchedule, HISTORY_KEPT, MAX_CHANGE_JOBS, MAX_SCHEDULE_BYTES, Revision, ScheduleChange, ScheduleChanged,
        ScheduleKey, ScheduleLine, Schedules, StoredSchedule, StoredSchedules,
    },
    schema::{Held, Migration, Schema, SchemaStatus},
    stats::{Bucket, Dimension, GroupStats, Histogram, Stats, Tallies, TallyLine},
    tx::{Committed, CompleteIn, EnqueueIn},
    wakeups::{WakeUps, Waker},
};
use crate::{
    decide::{breaker::BreakerInfo, operate::Action, queues::QueueShare},
    env::Env,
    job::{
        Cursor, ErrorClass, Fence, JobFilter, JobId, JobPage, JobRecord, JobSpec, Kind, KindFilter, Lease, NewJob,
        News, Pattern, QueueName, ServerId, State, Timestamp, Verdict,
    },
};

/// What a store answers when it cannot do what it was asked.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached, opened or written now. The same call may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The call holds a value that the store refuses. It will not succeed later either.
    #[error("{0}")]
    Invalid(String),
    /// What the store holds is newer than this program, foreign or damaged.
    #[error("{0}")]
    Corrupt(String),
    /// This store cannot do this; another one can.
    #[error("{0}")]
    Unsupported(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }
}

/// The result of a store's call.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What became of one job of an enqueue.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::{Client, Enqueued, RawJob};
/// let client = Client::open("memory:").await?;
/// let job = || RawJob::new("report:make", "{}").with(|o| o.id("report-7"));
/// assert!(client.enqueue(job()).await?.is_new());
/// match client.enqueue(job()).await? {
///     Enqueued::New(id) => println!("{id} is queued"),
///     Enqueued::Duplicate(id, state) => println!("{id} is there already: {state:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the store.
    New(JobId),
    /// Its id or unique key is taken by this job, which is in this state; none: it has been removed since (its key
    /// still holds, by `idempotency`).
    Duplicate(JobId, Option<State>),
}

impl Enqueued {
    /// The id of the job that is in the store.
    pub fn id(&self) -> &JobId {
        match self {
            Enqueued::New(id) | Enqueued::Duplicate(id, _) => id,
        }
    }

    /// Whether the call made a new job.
    pub fn is_new(&self) -> bool {
        matches!(self, Enqueued::New(_))
    }
}

/// Asks for jobs to run.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Who asks.
    pub server: ServerId,
    /// The number of the server's claim. A repeat with the same number (its reply was lost) gets the same jobs, those
    /// of them that it still holds, with their leases renewed: the server counts them from its last request. A lower
    /// number than the last one gets nothing: it was delayed on its way, and nobody waits for its answer.
    pub sequence: u64,
    /// The most jobs to take.
    pub limit: u32,
    /// The most jobs to take of kinds that are not in `quick`: more of them would wait here for a slot, while another
    /// server may have one free.
    pub slots: u32,
    /// Kinds whose runs are known to be over in a moment: they may fill the claim up to `limit`.
    pub quick: Arc<BTreeSet<Kind>>,
    /// How many each queue gives; what one cannot give, the others may, in this order.
    pub shares: Vec<QueueShare>,
    /// Which kinds to take. The others stay in line, untouched and not scanned past.
    pub kinds: KindFilter,
    /// How long the lease is.
    pub lease: Duration,
    /// Take one suspect (a job whose next crash is its last) and nothing else, if there is one. Otherwise take none
    /// of them. Only a server that runs nothing asks for it.
    pub suspect: bool,
}

/// The jobs that a claim took.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// In the order in which they should run.
    pub jobs: Vec<Claimed>,
    /// How long the oldest suspect of these queues and kinds has been waiting, if there is one.
    pub suspect_waiting: Option<Duration>,
}

/// A job that the caller now holds.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// What to run.
    pub spec: Arc<JobSpec>,
    /// The claim's number. All jobs of one claim may share it.
    pub fence: Fence,
    /// The number of this run.
    pub attempt: u32,
    /// Attempts that failed before.
    pub failures: u32,
    /// Times its holder vanished before.
    pub crashes: u32,
    /// Times it was put off before.
    pub snoozes: u32,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// How long it stood in line before this claim.
    pub waited: Duration,
    /// From where an earlier run says that this one can go on.
    pub checkpoint: Option<Bytes>,
}

impl Claimed {
    /// The right to report on this run.
    pub fn lease(&self) -> Lease {
        Lease { id: self.spec.id.clone(), fence: self.fence }
    }
}

/// Renews leases.
#[derive(Clone, Debug)]
pub struct ExtendRequest {
    /// Who holds them.
    pub server: ServerId,
    /// The leases. A lapsed one that nobody took is renewed as well.
    pub leases: Vec<Lease>,
    /// How long they are from now.
    pub lease: Duration,
    /// Whether the caller itself ran more than half a lease late: then nobody may rescue for a while.
    pub ran_late: bool,
}

/// Reports the end of one run.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The right to report it.
    pub lease: Lease,
    /// What it does to the job. A store turns `RetryIn`, `Snooze` and `Release` into a cancellation if one was asked
    /// for meanwhile.
    pub verdict: Verdict,
    /// What to add to the job's error history.
    pub error: Option<Failure>,
    /// What the handler returned; kept with the job for its retention.
    pub result: Option<Bytes>,
    /// Jobs to enqueue in the same step, if the report is accepted. One that is already there is left as it is.
    pub then: Vec<NewJob>,
    /// How long the run took.
    pub ran: Duration,
    /// What the run has said and no [`Store::report`] has been answered for, oldest first. Taken as a report is, before
    /// the job's state changes; a number that was taken already is not taken again.
    pub news: Vec<News>,
}

/// An error without its time, which the store adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of error.
    pub class: ErrorClass,
    /// The whole source chain.
    pub message: Arc<str>,
}

/// What became of a [`Finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It was accepted; the job is now in this state (and removed, if it has no retention).
    Applied(State),
    /// The caller no longer holds the job: another run's outcome counts.
    Stale,
}

/// What a run says while it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The right to say it.
    pub lease: Lease,
    /// What it says.
    pub news: News,
}

/// What became of a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is in the store, or was by an earlier report with its number or a higher one.
    Applied,
    /// The caller no longer holds the job; nothing was changed.
    Stale,
}

/// The rules of a promotion.
///
/// ```
/// use windlass::store::PromoteRules;
/// // Whatever is due, in steps of 500: for tests and tools.
/// let rules = PromoteRules::all(500);
/// assert_eq!((rules.limit, rules.look_ahead), (500, u32::MAX));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromoteRules {
    /// The most jobs to put into line at once.
    pub limit: u32,
    /// How many jobs may stand in line for due ones still to be added: so a flood of due jobs does not bury those that
    /// are enqueued meanwhile. It holds for each queue, and is shared by those of its lines (kinds and priorities) that
    /// have due jobs; one with a job in it or none always gets some.
    pub look_ahead: u32,
    /// How many each queue may add all the same. A server says half of what it has claimed of the queue since its last
    /// promotion, so that due jobs come to half of what is claimed however long the line of fresh ones is. What comes in
    /// by the look-ahead counts against it.
    pub beyond: BTreeMap<QueueName, u32>,
}

impl PromoteRules {
    /// Everything that is due, however much stands in line, at most `limit` at once.
    pub fn all(limit: u32) -> Self {
        Self { limit, look_ahead: u32::MAX, beyond: BTreeMap::new() }
    }
}

/// What a promotion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// How many jobs went into line.
    pub moved: u32,
    /// In how long the next one is due; zero when more are due now and may come into line. Those that are held back do
    /// not count.
    pub next_due: Option<Duration>,
    /// Whether due jobs are held back until the line is shorter. Nobody says when that is.
    pub held_back: bool,
}

/// The rules of a rescue.
#[derive(Clone, Copy, Debug)]
pub struct RescueRules {
    /// A job is buried as poison at this many crashes.
    pub poison_after: u32,
    /// The lease of the caller, from which the pauses after an outage follow.
    pub lease: Duration,
    /// The most jobs to rescue at once.
    pub limit: u32,
    /// Whether the caller itself ran more than half a lease late.
    pub ran_late: bool,
}

/// A job whose lease lapsed and was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RescuedJob {
    pub id: JobId,
    pub kind: Arc<str>,
    pub queue: QueueName,
    /// The fence of the run that was given up.
    pub fence: Fence,
    pub attempt: u32,
    /// Pending, dead (poison) or cancelled.
    pub state: State,
}

/// What a rescue did.
#[derive(Clone, Debug, Default)]
pub struct Rescued {
    /// The jobs.
    pub jobs: Vec<RescuedJob>,
    /// Whether the limit cut it short.
    pub more: bool,
}

/// One wish to cancel a running job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelWish {
    /// The job and the run that is to stop.
    pub lease: Lease,
    /// Why.
    pub reason: Arc<str>,
}

/// The cancel log past a given number.
#[derive(Clone, Debug, Default)]
pub struct CancelLog {
    /// The wishes, oldest first.
    pub wishes: Vec<CancelWish>,
    /// The number of the last one: where to go on.
    pub last: u64,
}

/// The hot path: what clients and servers call.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes the jobs durable, all or none, and answers one by one in their order. A job whose id or live unique key
    /// is taken (by an earlier one of the same call, too) is a duplicate. An id is taken as long as its job is kept;
    /// one that is said to be [fresh](NewJob::fresh) need not be looked for among the jobs that have ended.
    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>>;

    /// Takes up to `limit` pending jobs: by queue shares, within a queue by priority and then by when they came into
    /// line. Paused queues give none.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim>;

    /// Renews leases and stamps the store. Answers the leases that are lost: the job is finished, rescued or taken.
    async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>>;

    /// Applies reports, each fenced by its lease, and answers in their order.
    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>>;

    /// Notes what runs say while they go on, each fenced by its lease, and answers in their order. Of one run only a
    /// [number](News::number) above the last one counts. Changes neither the job's state nor its lease. A checkpoint is
    /// as durable as a finish; the rest may be lost with the host.
    ///
    /// What was said is kept with the job and goes with it: the latest progress, the latest checkpoint (each further
    /// claim hands it out), the newest hundred lines. An edited payload takes progress and checkpoint away, since they
    /// belong to the old one; nothing else does.
    async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>>;

    /// Puts due jobs into line, at its end, the earliest first, as far as the rules let them: what is held back stays
    /// scheduled or retrying. A line that is full holds back nobody else. A scheduled job of a group that has never run
    /// goes into its group instead.
    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted>;

    /// Takes lapsed leases, in one step each: crashes + 1, back to the front of the line, or dead as poison. Stamps
    /// the store, and does nothing right after an outage.
    async fn rescue(&self, rules: &RescueRules) -> Result<Rescued>;

    /// The cancel log past `after`; with none: only its last number.
    async fn cancelled(&self, after: Option<u64>) -> Result<CancelLog>;

    /// Hints that something may have come into line, changed or ended. Polling is the truth.
    fn wakeups(&self) -> WakeUps;
}

/// The counts of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueCensus {
    /// The queue.
    pub name: QueueName,
    /// Whether it is paused.
    pub paused: bool,
    /// Jobs by [`State::code`].
    pub by_state: [u64; 9],
    /// When its oldest pending job came into line.
    pub oldest_pending: Option<Timestamp>,
}

/// All counts of a store, in one snapshot, from counters: enqueued = sum of all states + removed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::Client;
/// let client = Client::open("memory:").await?;
/// let census = client.census().await?;
/// census.queues.iter().for_each(|queue| println!("{} {:?}", queue.name, queue.by_state));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Jobs that ever came in.
    pub enqueued: u64,
    /// Jobs that were removed: completed without retention, pruned, deleted.
    pub removed: u64,
    /// Per queue, by name.
    pub queues: Vec<QueueCensus>,
    /// The store's wall clock.
    pub now: Timestamp,
}

/// Read only: what people and tools look at. Every answer is bounded.
#[async_trait]
pub trait Inspect: Send + Sync + 'static {
    /// One job.
    async fn get(&self, id: &JobId) -> Result<Option<JobRecord>>;

    /// A page of at most `limit` (and at most 1,000) jobs, in order of enqueueing, without their checkpoints and logs.
    async fn list(&self, filter: &JobFilter, after: Option<Cursor>, limit: u32) -> Result<JobPage>;

    /// All counts.
    async fn census(&self) -> Result<Census>;

    /// How many jobs of these queues a server that handles `kinds` has still to see to the end: pending, running,
    /// scheduled or retrying, or aggregating in a group whose name is one of `groups`. Stops counting at some number
    /// above zero. Zero means that none was left at one moment: a job that goes from one state to another is not missed.
    async fn outstanding(&self, queues: &[QueueName], kinds: &KindFilter, groups: &[Pattern]) -> Result<u64>;

    /// The minute buckets since `since`, added up per queue and kind, and per tenant.
    async fn tallies(&self, since: Timestamp) -> Result<Tallies>;

    /// The servers that have given a sign of life lately.
    async fn servers(&self) -> Result<Vec<ServerInfo>>;

    /// What this store in particular can say of its health: its versions, its disk. [`Client::checkup`] looks at what
    /// holds for every store.
    ///
    /// [`Client::checkup`]: crate::Client::checkup
    async fn checkup(&self) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    /// The CPU time, user and system, that the store's own process has used since it started. `None` for a store that
    /// lives in the processes that use it, or whose process does not say. For measurements.
    async fn cpu(&self) -> Result<Option<Duration>> {
        Ok(None)
    }
}

/// What an operator's action did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operated {
    /// It was done; the job is now in this state. A running job that was told to stop is still `Running`.
    Done(State),
    /// It was removed.
    Removed,
    /// There is no such job.
    NotFound,
    /// The job's state does not allow it, or its unique key is held by another job.
    Conflict {
        /// The state it is in.
        state: State,
        /// The job that holds its unique key, where that is the reason.
        holder: Option<JobId>,
    },
}

/// What to prune.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use windlass::{Client, JobState, store::Prune};
/// let client = Client::open("memory:").await?;
/// let month = Duration::from_secs(30 * 24 * 3600);
/// let removed = client.prune(Prune::Older { than: month, states: vec![JobState::Dead] }).await?;
/// println!("{removed} dead jobs are gone");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prune {
    /// What retention lets go: completed jobs past theirs, dead and cancelled ones past 90 days, idempotency keys,
    /// old statistics and cancel wishes, idle servers. Jobs that are kept for two days or more may be there for up to
    /// a day longer, where a store removes whole days at once.
    Expired,
    /// Jobs that ended this long ago, in these states (only terminal ones count).
    Older {
        /// How long ago.
        than: Duration,
        /// In which states.
        states: Vec<State>,
    },
}

/// What a prune did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many jobs were removed.
    pub removed: u64,
    /// Whether the limit cut it short.
    pub more: bool,
}

/// What operators do. Every state change is checked in the step that makes it.
#[async_trait]
pub trait Operate: Send + Sync + 'static {
    /// Does something to one job.
    async fn operate(&self, id: &JobId, action: &Action) -> Result<Operated>;

    /// Stops a queue from giving jobs, or lets it give again. False: there is no such queue.
    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool>;

    /// Removes up to `limit` jobs.
    async fn prune(&self, what: &Prune, limit: u32) -> Result<Pruned>;
}

/// A server as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerInfo {
    /// This start of it.
    pub id: ServerId,
    /// Its host's name.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Its last sign of life; the store sets it.
    pub seen_at: Timestamp,
    /// Its queues and their weights.
    pub queues: Vec<(QueueName, u32)>,
    /// The patterns of the kinds it handles.
    pub kinds: Vec<String>,
    /// The patterns of the groups it aggregates.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The names of the schedules that it declares.
    #[serde(default)]
    pub schedules: Vec<String>,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How many it runs now.
    pub busy: u32,
    /// Slots, and threads of blocking handlers, taken by handlers that ignored their end.
    pub leaked: u32,
    /// Whether it has stopped claiming.
    pub quiet: bool,
    /// The breakers of its kinds.
    #[serde(default)]
    pub breakers: Vec<BreakerInfo>,
}

impl ServerInfo {
    /// A server that has just started.
    pub fn new(id: ServerId, started_at: Timestamp) -> Self {
        Self {
            id,
            host: String::new(),
            pid: 0,
            started_at,
            seen_at: started_at,
            queues: Vec::new(),
            kinds: Vec::new(),
            groups: Vec::new(),
            schedules: Vec::new(),
            slots: 0,
            busy: 0,
            leaked: 0,
            quiet: false,
            breakers: Vec::new(),
        }
    }
}

/// A server that has given no sign of life for this long is not live.
pub const SERVER_SILENT_AFTER: Duration = Duration::from_secs(30);

/// What servers tell each other.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// Registers a server, or says that it still lives. Leases do not depend on it.
    async fn beat(&self, server: &ServerInfo) -> Result<()>;

    /// Takes a server off the register. A claim of it that was delayed on its way and comes soon after gets nothing.
    async fn leave(&self, server: ServerId) -> Result<()>;

    /// Adds up, per queue and kind, the time in which live servers were there and none declared the kind, and buries
    /// (`unknown_kind`) up to `limit` pending jobs of a kind for which that time and the job's own wait have both
    /// reached `after`. Answers how many.
    async fn sweep_unknown(&self, after: Duration, limit: u32) -> Result<u32>;
}

/// A whole store.
pub trait Backend: Store + Inspect + Operate + Cluster + Groups + Locks + Schedules + Any {
    /// Its name: `memory`, `sqlite`, `redis`, `postgres`.
    fn name(&self) -> &'static str;

    /// The durability level of an acknowledged enqueue, for people.
    fn durability(&self) -> String;

    /// For reaching one store's own powers.
    fn as_any(&self) -> &dyn Any;

    /// A short name of the place, without secrets, for people.
    fn place(&self) -> String;
}

/// How [`open`] treats a store that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Create {
    /// Make it.
    #[default]
    IfMissing,
    /// Answer [`StoreError::Unavailable`].
    Never,
}

/// Opens the store that a URL names: `memory:`, (feature `sqlite`) `sqlite:path`, (feature `redis`)
/// `redis://host:port/db`, `rediss://..` with TLS, `redis+unix:///path`, or (feature `postgres`)
/// `postgres://user@host:port/database`.
///
/// # Errors
/// `Invalid` for a URL that cannot be read, `Unsupported` for a scheme of a feature that is off or unknown,
/// `Unavailable` for a path that cannot be opened, `Corrupt` for a file that is foreign, damaged or newer.
pub async fn open(url: &str, create: Create, env: &Env) -> Result<Arc<dyn Backend>> {
    let (scheme, rest) = url.split_once(':').ok_or_else(|| unknown_scheme(url))?;
    // Some stores are always there.
    let _ = create;
    match scheme {
        "memory" if rest.is_empty() => Ok(Arc::new(memory::MemoryStore::new(env.clone()))),
        "memory" => Err(StoreError::Invalid("a memory store takes no path; use memory:".into())),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Arc::new(postgres::PostgresStore::open(url, create, env.clone()).await?)),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => {
            Err(StoreError::Unsupported("postgres: needs windlass's cargo feature `postgres`".into()))
        }
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+unix" => Ok(Arc::new(redis::RedisStore::open(url, env.clone()).await?)),
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" | "redis+unix" => {
            Err(StoreError::Unsupported("redis: needs windlass's cargo feature `redis`".into()))
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Arc::new(sqlite::SqliteStore::open(rest, create, env.clone()).await?)),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(StoreError::Unsupported("sqlite: needs windlass's cargo feature `sqlite`".into())),
        _ => Err(unknown_scheme(url)),
    }
}

fn unknown_scheme(url: &str) -> StoreError {
    match url.split_once(':') {
        Some((scheme, _)) => StoreError::Unsupported(format!(
            "the store scheme `{scheme}:` is unknown; use sqlite:path/to/jobs.db, redis://host, postgres://host/database \
             or memory:"
        )),
        None => {
            StoreError::Invalid(format!("`{}` is no store URL; use sqlite:path/to/jobs.db or memory:", redact(url)))
        }
    }
}

/// A URL without what stands between `//` and `@`, for messages.
fn redact(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(from), Some(to)) if from + 2 <= to => format!("{}***{}", &url[..from + 2], &url[to..]),
        _ => url.to_owned(),
    }
}
