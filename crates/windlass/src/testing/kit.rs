//! The kit for tests of programs that use windlass: a store in memory, a clock that only the test moves, and real
//! servers that run what is due and stop. No test has to sleep, and none has to wait for a poll.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    drive::{Drained, Observed, Seen, drive},
    enqueued::{EnqueuedJob, enqueued},
    layer::{Layer, Layered},
    manual::ManualClock,
    perform::{Aside, Performed, claimed},
};
use crate::{
    client::{Client, ClientBuilder, Enqueue, Job},
    job::{NewJob, QueueName, State, Timestamp},
    maintain::{
        aggregator::{AllFailing, Looked, Tender},
        scheduler::Scheduler,
    },
    server::{Server, builder::resolved, group::patterns, router::Router},
    store::{Backend, Enqueued, PromoteRules, Prune, QueueCensus, Result, StoreError, memory::MemoryStore},
};

/// How long a run may take without a sign of life, in the time of the outside world.
const PATIENCE: Duration = Duration::from_secs(60);

type SetUpServer = Arc<dyn Fn(Server) -> Server + Send + Sync>;
type SetUpClient = Arc<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>;

/// Everything that a test of a program with jobs needs: a store, a client, a clock, and runs on demand.
///
/// Nothing runs by itself. The code under test enqueues through [`client`](Self::client); the test looks at what waits,
/// and says when it runs. It works in any `#[tokio::test]`; no test sleeps.
///
/// ```
/// use std::time::Duration;
/// use windlass::{Job, Router, testing::Kit};
///
/// #[derive(serde::Serialize, serde::Deserialize, Job)]
/// #[job(kind = "email:send")]
/// struct SendEmail {
///     to: String,
/// }
///
/// async fn send_email(mail: SendEmail) -> windlass::Result {
///     if mail.to.contains('@') { Ok(()) } else { Err("no address".into()) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), windlass::Error> {
/// let kit = Kit::new(Router::new().job(send_email));
/// kit.client().enqueue(SendEmail { to: "ada@example.com".into() }).await?;
/// kit.client().enqueue(SendEmail { to: "nobody".into() }.with(|o| o.max_retry(1))).await?;
/// assert_eq!(kit.enqueued::<SendEmail>().await[0].to, "ada@example.com");
///
/// let ran = kit.run_due().await;
/// assert_eq!((ran.completed, ran.retried), (1, 1), "{ran}");
/// let later = kit.advance(Duration::from_secs(3600)).await; // the retry comes due within the hour
/// assert_eq!(later.dead, 1, "{later}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Kit {
    parts: Arc<Parts>,
    client: Client,
}

/// What is the same for all clones, and for the inline client.
struct Parts {
    router: Router,
    clock: ManualClock,
    store: Arc<dyn Backend>,
    server: SetUpServer,
    client: SetUpClient,
    patience: Duration,
    failing: tokio::sync::Mutex<AllFailing>,
    /// Held while jobs run, so that two calls do not run the same ones.
    running: tokio::sync::Mutex<()>,
    total: Mutex<Drained>,
}

/// Sets a [`Kit`] up; see [`Kit::builder`].
///
/// ```
/// use std::time::Duration;
/// use windlass::{RawJob, RetryPolicy, Router, testing::Kit};
/// async fn anything(_: RawJob) -> windlass::Result {
///     Ok(())
/// }
/// let kit = Kit::builder(Router::new().at("*", anything))
///     .server(|server| server.concurrency(8).retry(RetryPolicy::fixed(Duration::from_secs(10))))
///     .build();
/// # let _ = kit;
/// ```
pub struct KitBuilder {
    router: Router,
    place: Option<(Arc<dyn Backend>, ManualClock)>,
    server: SetUpServer,
    client: SetUpClient,
    patience: Duration,
    inline: bool,
}

impl KitBuilder {
    /// Changes the server that runs the jobs: retry policies, limits of kinds, hooks. Unless this says otherwise it
    /// takes from every queue and runs one job at a time, so that a test sees them in the order of their line.
    #[must_use]
    pub fn server(mut self, set_up: impl Fn(Server) -> Server + Send + Sync + 'static) -> Self {
        self.server = Arc::new(set_up);
        self
    }

    /// Changes the clients: defaults of options, the limit of payloads.
    #[must_use]
    pub fn client(mut self, set_up: impl Fn(ClientBuilder) -> ClientBuilder + Send + Sync + 'static) -> Self {
        self.client = Arc::new(set_up);
        self
    }

    /// Another store than a new one in memory. It must go by this clock ([`ManualClock::env`]).
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Backend>, clock: ManualClock) -> Self {
        self.place = Some((store, clock));
        self
    }

    /// For how long nothing may happen while jobs run, in the time of the outside world, before the test fails instead
    /// of hanging. Default: a minute.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// [`Kit::client`] runs what is due before `enqueue` returns; see [`Kit::inline`].
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// The kit.
    pub fn build(self) -> Kit {
        let (store, clock) = self.place.unwrap_or_else(|| {
            let clock = ManualClock::new();
            (Arc::new(MemoryStore::new(clock.env())), clock)
        });
        let parts = Arc::new(Parts {
            router: self.router,
            clock,
            store,
            server: self.server,
            client: self.client,
            patience: self.patience,
            failing: tokio::sync::Mutex::default(),
            running: tokio::sync::Mutex::default(),
            total: Mutex::default(),
        });
        let client = if self.inline {
            parts.client_on(Arc::new(Layered(Inline(parts.clone()))))
        } else {
            parts.client_on(parts.store.clone())
        };
        Kit { parts, client }
    }
}

impl Kit {
    /// A kit with a new store in memory, whose jobs this router runs. It is 2026-01-01T00:00:00Z.
    pub fn new(router: Router) -> Self {
        Self::builder(router).build()
    }

    /// A kit whose client runs jobs at once: when `enqueue` returns, everything that was due has run, follow-ups too.
    /// For tests of what comes out in the end. The retry of a failed job waits for [`advance`](Self::advance).
    ///
    /// What a handler enqueues is left to the run that it is part of.
    ///
    /// ```
    /// use windlass::{Job, Router, testing::Kit};
    /// #[derive(serde::Serialize, serde::Deserialize, Job)]
    /// #[job(kind = "greet", retention = "1h")]
    /// struct Greet;
    /// async fn greet(_: Greet) -> windlass::Result {
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), windlass::Error> {
    /// let kit = Kit::inline(Router::new().job(greet));
    /// let greeting = kit.client().enqueue(Greet).await?;
    /// assert_eq!(kit.client().inspect(greeting.id()).await?.state, windlass::JobState::Completed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn inline(router: Router) -> Self {
        Self::builder(router).inline().build()
    }

    /// A kit with settings of its own.
    pub fn builder(router: Router) -> KitBuilder {
        KitBuilder {
            router,
            place: None,
            server: Arc::new(|server| server),
            client: Arc::new(|client| client),
            patience: PATIENCE,
            inline: false,
        }
    }

    /// A client for the code under test.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The clock, for moving time without running anything.
    pub fn clock(&self) -> &ManualClock {
        &self.parts.clock
    }

    /// What time it is: for options such as `deadline` that name a moment.
    pub fn now(&self) -> Timestamp {
        self.parts.clock.env().wall()
    }

    /// The jobs of a type that wait (scheduled and retrying ones, too), oldest first.
    ///
    /// # Panics
    /// As [`testing::enqueued`](super::enqueued).
    pub async fn enqueued<T: Job>(&self) -> Vec<EnqueuedJob<T>> {
        enqueued(&self.client).await
    }

    /// Runs what is due, and what comes of it, until nothing is due; time stands still. Jobs go through a real server:
    /// claimed, run, reported. What no handler of the router takes, and what is in a paused queue, stays in line. Groups
    /// that are due become jobs, if the [server](KitBuilder::server) has an aggregator for them, and so do ticks of the
    /// schedules that it declares.
    ///
    /// # Panics
    /// When the server is set up wrongly, the store is away, a handler hangs
    /// ([`patience`](KitBuilder::patience)), or there is no end to the runs.
    pub async fn run_due(&self) -> Drained {
        let _running = self.parts.running.lock().await;
        self.parts.run_due().await
    }

    /// Lets time pass. Whatever comes due meanwhile runs at its own moment: so does a retry of a retry. In the end it
    /// removes what retention lets go.
    ///
    /// To move the clock without running anything: `kit.clock().advance(..)`.
    ///
    /// # Panics
    /// As [`run_due`](Self::run_due).
    pub async fn advance(&self, time: Duration) -> Drained {
        let _running = self.parts.running.lock().await;
        self.parts.advance(time).await
    }

    /// All runs since the kit was made, those of an inline client among them.
    pub fn total(&self) -> Drained {
        self.parts.total.lock().clone()
    }

    /// Runs one job now, as its first attempt, and says how that ended. The job goes into no store, whatever its options
    /// say; what its handler enqueues does.
    ///
    /// ```
    /// use windlass::{Json, Job, Router, testing::Kit};
    /// #[derive(serde::Serialize, serde::Deserialize, Job)]
    /// #[job(kind = "square")]
    /// struct Square(u64);
    /// async fn square(Square(n): Square) -> windlass::Result<Json<u64>> {
    ///     Ok(Json(n.checked_mul(n).ok_or("too large")?))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let kit = Kit::new(Router::new().job(square));
    /// assert_eq!(kit.perform(Square(7)).await.result::<u64>(), 49);
    /// assert_eq!(kit.perform(Square(u64::MAX)).await.error.as_deref(), Some("too large"));
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the job has a value that it may not have, or the router has no handler for it. And as
    /// [`run_due`](Self::run_due).
    pub async fn perform(&self, job: impl Enqueue) -> Performed {
        self.perform_attempt(1, job).await
    }

    /// Runs one job now as its n-th attempt; see [`perform`](Self::perform). One more than its `max_retry` is its last.
    ///
    /// # Panics
    /// As [`perform`](Self::perform).
    pub async fn perform_attempt(&self, attempt: u32, job: impl Enqueue) -> Performed {
        let job = self.client.prepare(job).unwrap_or_else(|error| panic!("the job is invalid: {error}"));
        self.parts.perform(job, attempt).await
    }
}

impl Parts {
    fn client_on(&self, store: Arc<dyn Backend>) -> Client {
        (self.client)(Client::builder()).env(self.clock.env()).on(store)
    }

    /// A server over a store, with these queues unless the test has said otherwise.
    fn server_on(&self, store: Arc<dyn Backend>, queues: Vec<String>) -> Server {
        let server = Server::new(&self.client_on(store), self.router.clone()).concurrency(1).prefetch(0);
        (self.server)(server.queues(queues.into_iter().map(|queue| (queue, 1))))
    }

    async fn drive(&self, store: Arc<dyn Backend>, queues: Vec<String>) -> Drained {
        let seen = Arc::new(Seen::default());
        let observed = Arc::new(Layered(Observed { store: store.clone(), seen: seen.clone() }));
        let mut server = self.server_on(observed, queues);
        // Groups and schedules are seen to between the runs, so that a test always finds the same.
        server.config.aggregators.clear();
        server.schedules.clear();
        drive(server, &seen, &*store, self.patience).await
    }

    async fn run_due(&self) -> Drained {
        let mut drained = Drained::default();
        loop {
            self.tick_schedules().await;
            self.promote().await;
            let groups = self.tend_groups().await;
            let flushed = groups.flushed;
            drained.add_groups(groups);
            let queues = self.queues(&[State::Pending]).await;
            let round =
                if queues.is_empty() { Drained::default() } else { self.drive(self.store.clone(), queues).await };
            // What waits now has no handler here, or is in a queue that gives nothing.
            if round.runs() == 0 && flushed == 0 {
                self.total.lock().add(drained.clone());
                return drained;
            }
            drained.add(round);
        }
    }

    async fn advance(&self, time: Duration) -> Drained {
        let (mut drained, mut left) = (Drained::default(), time);
        loop {
            drained.add(self.run_due().await);
            if left.is_zero() {
                break;
            }
            // At least a microsecond, the grain of the clock, so that there is an end to it.
            let groups = self.tend_groups().await;
            let next = self.promote().await.into_iter().chain(groups.next).chain(self.tick_schedules().await).min();
            drained.add_groups(groups);
            let next = next.map_or(left, |due| due.max(Duration::from_micros(1)).min(left));
            self.clock.advance(next);
            left -= next;
        }
        let pruned = self.client_on(self.store.clone()).prune(Prune::Expired).await;
        pruned.unwrap_or_else(|error| panic!("what retention lets go cannot be removed: {error}"));
        drained
    }

    /// Puts into line what is due; answers in how long the next one will be.
    async fn promote(&self) -> Option<Duration> {
        loop {
            let promoted = self.store.promote(&PromoteRules::all(500)).await;
            let promoted = promoted.unwrap_or_else(|error| panic!("due jobs cannot be promoted: {error}"));
            if promoted.moved == 0 {
                return promoted.next_due;
            }
        }
    }

    /// Enqueues the jobs of ticks that are due, as the server under test would; answers in how long the next one will be.
    async fn tick_schedules(&self) -> Option<Duration> {
        let server = self.server_on(self.store.clone(), Vec::new());
        let client = self.client_on(self.store.clone());
        let declared = resolved(server.schedules, &client);
        let declared = declared.unwrap_or_else(|error| panic!("the server is set up wrongly: {error}"));
        let mut scheduler = Scheduler::new(client, declared);
        scheduler.declare().await.unwrap_or_else(|error| panic!("schedules cannot be declared: {error}"));
        match scheduler.look(|| true).await {
            Ok(next) => next,
            Err(StoreError::Unsupported(_)) => None,
            Err(error) => panic!("schedules cannot be looked at: {error}"),
        }
    }

    /// Makes jobs of the groups that are due, as the server under test would.
    async fn tend_groups(&self) -> Looked {
        let queues = self.queues(&[State::Aggregating]).await;
        if queues.is_empty() {
            return Looked::default();
        }
        let server = self.server_on(self.store.clone(), queues);
        let aggregators = &server.config.aggregators;
        let names = patterns(aggregators).unwrap_or_else(|error| panic!("the server is set up wrongly: {error}"));
        let client = self.client_on(self.store.clone());
        let tender = Tender { client: &client, aggregators, names: &names };
        let mut failing = self.failing.lock().await;
        let mut all = Looked::default();
        for (queue, _) in &server.queues {
            let queue = QueueName::new(queue).unwrap_or_else(|error| panic!("the server is set up wrongly: {error}"));
            let looked = tender.look(&queue, &mut failing, || true).await;
            let looked = looked.unwrap_or_else(|error| panic!("groups cannot be looked at: {error}"));
            all.next = all.next.into_iter().chain(looked.next).min();
            all.flushed += looked.flushed;
            all.failed.extend(looked.failed);
        }
        all
    }

    /// The queues that hold jobs in these states.
    async fn queues(&self, states: &[State]) -> Vec<String> {
        let census = self.store.census().await.unwrap_or_else(|error| panic!("jobs cannot be counted: {error}"));
        let holds = |queue: &&QueueCensus| states.iter().any(|state| queue.by_state[usize::from(state.code())] > 0);
        census.queues.iter().filter(holds).map(|queue| queue.name.as_str().to_owned()).collect()
    }

    async fn perform(&self, job: NewJob, attempt: u32) -> Performed {
        let (kind, queue) = (job.spec.kind.clone(), job.spec.queue.as_str().to_owned());
        let given = Mutex::new(Some(claimed(job, attempt, self.clock.env().wall())));
        let report = Arc::new(Mutex::new(None));
        let aside = Arc::new(Layered(Aside { store: self.store.clone(), given, report: report.clone() }));
        self.drive(aside, vec![queue]).await;
        let report = report.lock().take();
        report.unwrap_or_else(|| panic!("the kit's router has no handler for kind `{kind}`")).into()
    }
}

/// The store behind an inline client: whatever is enqueued runs before the answer.
struct Inline(Arc<Parts>);

#[async_trait]
impl Layer for Inline {
    fn inner(&self) -> &dyn Backend {
        &*self.0.store
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let answers = self.0.store.enqueue(jobs).await?;
        // While jobs run, one of them enqueues: the run goes on with what is new, and waiting for it here would never end.
        if let Ok(_running) = self.0.running.try_lock() {
            self.0.run_due().await;
        }
        Ok(answers)
    }
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("clock", &self.parts.clock).field("router", &self.parts.router).finish()
    }
}

impl fmt::Debug for KitBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KitBuilder").field("router", &self.router).field("inline", &self.inline).finish_non_exhaustive()
    }
}
