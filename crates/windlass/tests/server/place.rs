//! Where a test runs: a store, and time that jumps to the next timer whenever everybody waits.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinHandle, time::Instant};
use windlass::{
    Blocking, BoxFuture, Client, Env, Host, JobId, JobOptions, JobRecord, JobState, Monotonic, RawJob, Server,
    Timestamp, Work,
    store::{Backend, Create},
};

use crate::faulty::Faulty;

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);

/// Writes one test a store for each fact: `async fn fact(place: Place)`.
macro_rules! on_every_store {
    ($($fact:ident)*) => {
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $fact() {
                let place = crate::place::Place::memory().await;
                crate::place::in_time(super::$fact(place)).await;
            })*
        }
        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(#[tokio::test(start_paused = true)]
            async fn $fact() {
                let place = crate::place::Place::sqlite().await;
                crate::place::in_time(super::$fact(place)).await;
            })*
        }
        #[cfg(feature = "redis")]
        mod redis {
            $(#[tokio::test(start_paused = true)]
            async fn $fact() {
                let place = crate::place::Place::redis().await;
                crate::place::in_time(super::$fact(place)).await;
            })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(start_paused = true)]
            async fn $fact() {
                let place = crate::place::Place::postgres().await;
                crate::place::in_time(super::$fact(place)).await;
            })*
        }
    };
}

/// A test that hangs fails, after a day of its own time.
pub async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(24 * HOUR, test).await.expect("the test hangs");
}

/// A store and the clocks around it.
pub struct Place {
    pub clock: Clock,
    pub store: Arc<dyn Backend>,
    /// Whether the store has threads of its own, so that time must stand still while it works.
    threads: bool,
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    pub async fn memory() -> Self {
        let clock = Clock::new();
        let store = windlass::store::open("memory:", Create::IfMissing, &clock.env()).await.unwrap();
        Self { clock, store, threads: false, _dir: None }
    }

    #[cfg(feature = "sqlite")]
    pub async fn sqlite() -> Self {
        Self::sqlite_with("").await
    }

    /// With parameters of its URL.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite_with(parameters: &str) -> Self {
        let (clock, dir) = (Clock::new(), tempfile::tempdir().unwrap());
        let url = format!("sqlite:{}{parameters}", dir.path().join("jobs.db").display());
        let store = windlass::store::open(&url, Create::IfMissing, &clock.env()).await.unwrap();
        Self { clock, store, threads: true, _dir: Some(dir) }
    }

    /// Redis is outside: its connections live on a runtime whose time goes on.
    #[cfg(feature = "redis")]
    pub async fn redis() -> Self {
        use windlass::store::redis::RedisStore;
        let clock = Clock::new();
        let env = Env::new(Outside(clock.clone()));
        let opened = async move { RedisStore::open_on_clock_of(&crate::servers::redis_url(), env).await.unwrap() };
        let store = Arc::new(outside().spawn(opened).await.unwrap());
        Self { clock, store, threads: true, _dir: None }
    }

    /// So is Postgres.
    #[cfg(feature = "postgres")]
    pub async fn postgres() -> Self {
        use windlass::store::postgres::PostgresStore;
        let clock = Clock::new();
        let env = Env::new(Outside(clock.clone()));
        let url = crate::servers::postgres::url();
        let opened = async move { PostgresStore::open_on_clock_of(&url, env).await.unwrap() };
        let store = Arc::new(outside().spawn(opened).await.unwrap());
        Self { clock, store, threads: true, _dir: None }
    }

    pub fn env(&self) -> Env {
        self.clock.env()
    }

    pub fn client(&self) -> Client {
        self.line().0
    }

    /// A client, and the line to the store that it alone uses.
    pub fn line(&self) -> (Client, Arc<Faulty>) {
        let line = Arc::new(Faulty::new(self.store.clone(), self.threads));
        (Client::builder().env(self.env()).on(line.clone()), line)
    }

    pub fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }

    /// Lets everybody who can move do so.
    pub async fn clock_turn(&self) {
        self.clock.sleep(5 * MS).await;
    }

    /// Waits until something holds, looking again every few milliseconds.
    pub async fn until<F: Future<Output = bool>>(&self, holds: impl Fn() -> F) {
        while !holds().await {
            self.clock.sleep(5 * MS).await;
        }
    }

    pub async fn until_state(&self, id: &JobId, state: JobState) -> JobRecord {
        self.until(async || self.record(id).await.state == state).await;
        self.record(id).await
    }

    pub async fn record(&self, id: &JobId) -> JobRecord {
        self.client().get(id).await.unwrap().expect("the job is there")
    }

    /// Enqueues a job that is kept for an hour.
    pub async fn add(&self, job: RawJob) -> JobId {
        let job = job.with(|options| options.or(JobOptions::new().retention(HOUR)));
        self.client().enqueue(job).await.unwrap().id().clone()
    }
}

/// An empty job of this kind.
pub fn job(kind: &str) -> RawJob {
    RawJob::new(kind, "{}")
}

/// The end of a handler that went well.
pub fn ok<T>(value: T) -> windlass::Result<T> {
    Ok(value)
}

/// A server whose tests need no long waits.
pub fn server(client: &Client, router: windlass::Router) -> Server {
    Server::new(client, router).grace(SECOND)
}

/// Tokio's clock, which is paused in tests and moves when all tasks wait.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    runtime: Handle,
    origin: Instant,
    skipped: AtomicI64,
    random: AtomicU64,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the tests' own clock")]
    fn new() -> Self {
        let (skipped, random) = (AtomicI64::new(0), AtomicU64::new(7));
        Self(Arc::new(Inner { runtime: Handle::current(), origin: Instant::now(), skipped, random }))
    }

    pub fn env(&self) -> Env {
        Env::new(self.clone())
    }

    /// Lets time pass while nobody is polled, as a handler does that keeps its thread.
    pub fn skip(&self, time: Duration) {
        self.0.skipped.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
    }

    #[allow(clippy::disallowed_methods, reason = "this is the tests' own clock")]
    fn micros(&self) -> i64 {
        // Stores ask from threads of their own, too.
        let _runtime = self.0.runtime.enter();
        Instant::now().duration_since(self.0.origin).as_micros() as i64 + self.0.skipped.load(Ordering::Relaxed)
    }
}

impl Host for Clock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(1_767_225_600_000_000 + self.micros())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(1_000_000_000 + self.micros())
    }

    fn boot(&self) -> Arc<str> {
        "a boot".into()
    }

    fn random(&self) -> u64 {
        let turn = self.0.random.fetch_add(1, Ordering::Relaxed);
        turn.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[allow(clippy::disallowed_methods, reason = "this is the tests' own clock")]
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<()>) -> JoinHandle<()> {
        tokio::spawn(task)
    }

    fn spawn_apart(&self, _name: &'static str, task: BoxFuture<()>) -> JoinHandle<()> {
        tokio::spawn(task)
    }
    /// Time would jump while a thread works, so it works in no time.
    fn blocking(&self, _threads: u32) -> Arc<dyn Blocking> {
        struct InTasks;
        impl Blocking for InTasks {
            fn run(&self, work: Work) {
                tokio::spawn(async move { work() });
            }
        }
        Arc::new(InTasks)
    }
}

/// The tests' clock, and a runtime in real time for everything that waits.
#[cfg(any(feature = "redis", feature = "postgres"))]
struct Outside(Clock);

#[cfg(any(feature = "redis", feature = "postgres"))]
fn outside() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    RUNTIME.get_or_init(runtime)
}

#[cfg(any(feature = "redis", feature = "postgres"))]
impl Host for Outside {
    fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    fn monotonic(&self) -> Monotonic {
        self.0.monotonic()
    }

    fn boot(&self) -> Arc<str> {
        self.0.boot()
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    #[allow(clippy::disallowed_methods, reason = "this is the tests' own clock")]
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        let slept = outside().spawn(async move { tokio::time::sleep(duration).await });
        Box::pin(async move { slept.await.unwrap() })
    }

    fn spawn(&self, task: BoxFuture<()>) -> JoinHandle<()> {
        outside().spawn(task)
    }

    fn spawn_apart(&self, _name: &'static str, task: BoxFuture<()>) -> JoinHandle<()> {
        outside().spawn(task)
    }

    fn blocking(&self, threads: u32) -> Arc<dyn Blocking> {
        self.0.blocking(threads)
    }
}
