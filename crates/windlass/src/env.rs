//! The only door to the outside world: clocks, randomness, ids, sleeping, and where a loop runs.
//! Production uses [`Env::system`]; tests and the simulation bring their own [`Host`], which moves time at will.
#![allow(clippy::disallowed_methods, reason = "this is the one file that may read the clock and sleep")]

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

mod apart;
mod threads;

use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) use self::apart::Apart;
pub(crate) use crate::decide::chance::mix;
use crate::job::{JobId, Monotonic, ServerId, Timestamp};

/// A boxed future, as [`Host`] takes and gives it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// Work for a thread that may block. It does not panic.
pub type Work = Box<dyn FnOnce() + Send + 'static>;

/// Threads for work that blocks; see [`Host::blocking`].
pub trait Blocking: Send + Sync {
    /// Runs it on a thread as soon as one is free, in the order of the calls.
    fn run(&self, work: Work);
}

/// What a place to run in can do. Implement it to move time in tests.
pub trait Host: Send + Sync + 'static {
    /// The wall clock: when jobs are due.
    fn wall(&self) -> Timestamp;
    /// The host's monotonic clock: when leases end. All processes of one boot share it.
    fn monotonic(&self) -> Monotonic;
    /// Names this boot of the host; a lease of another boot has lapsed.
    fn boot(&self) -> Arc<str>;
    /// 64 random bits.
    fn random(&self) -> u64;
    /// Resolves after this long.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;
    /// Lets about this much time pass before somebody is asked again, to spare them; nothing else depends on it. By
    /// itself as [`sleep`](Self::sleep). A clock that only others move makes nobody wait: they may wait for the caller.
    fn spare(&self, duration: Duration) -> BoxFuture<()> {
        self.sleep(duration)
    }
    /// Runs a task beside the caller.
    fn spawn(&self, task: BoxFuture<()>) -> JoinHandle<()>;
    /// Runs a loop that must not starve when tasks hog the runtime: on a thread of its own.
    fn spawn_apart(&self, name: &'static str, task: BoxFuture<()>) -> JoinHandle<()>;
    /// At most this many threads for work that blocks or computes. By itself: threads that are used for nothing else.
    /// A simulated place runs the work in a task, so that a run can be repeated.
    fn blocking(&self, threads: u32) -> Arc<dyn Blocking> {
        Arc::new(threads::Threads::new(threads))
    }
}

/// A handle to the [`Host`], cheap to clone.
///
/// ```
/// let env = windlass::Env::system();
/// assert_eq!(env.new_id().as_uuid().unwrap().get_version_num(), 7);
/// ```
#[derive(Clone)]
pub struct Env(Arc<dyn Host>);

impl Env {
    /// The real clock, the real randomness, the current tokio runtime.
    pub fn system() -> Self {
        Self(Arc::new(System))
    }

    /// A place made by a test.
    pub fn new(host: impl Host) -> Self {
        Self(Arc::new(host))
    }

    /// The wall clock now.
    pub fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    /// The monotonic clock now.
    pub fn monotonic(&self) -> Monotonic {
        self.0.monotonic()
    }

    /// The name of this boot.
    pub fn boot(&self) -> Arc<str> {
        self.0.boot()
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        self.0.random()
    }

    /// A duration between half and all of `duration`, so that processes do not move in step.
    pub fn jittered(&self, duration: Duration) -> Duration {
        let part = (self.random() >> 11) as f64 / (1u64 << 53) as f64;
        duration.mul_f64(0.5 + part / 2.0)
    }

    /// A new id that sorts by age.
    pub fn new_id(&self) -> JobId {
        JobId::from_uuid(self.new_uuid())
    }

    /// A name for one attempt at something, which nobody else has.
    pub(crate) fn new_token(&self) -> Uuid {
        self.new_uuid()
    }

    /// An id for one start of a server.
    pub fn new_server_id(&self) -> ServerId {
        ServerId(self.new_uuid())
    }

    fn new_uuid(&self) -> Uuid {
        let millis = u64::try_from(self.wall().as_micros() / 1000).unwrap_or(0);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.random().to_ne_bytes());
        random[8..].copy_from_slice(&(self.random() as u16).to_ne_bytes());
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// Waits.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.0.sleep(duration)
    }

    pub(crate) fn spare(&self, duration: Duration) -> BoxFuture<()> {
        self.0.spare(duration)
    }

    /// Runs a task beside the caller.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.0.spawn(Box::pin(task))
    }

    /// Runs a loop on a thread of its own (in the simulation: as a task).
    pub fn spawn_apart(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.0.spawn_apart(name, Box::pin(task))
    }

    /// Threads for work that blocks (in the simulation: tasks).
    pub fn blocking(&self, threads: u32) -> Arc<dyn Blocking> {
        self.0.blocking(threads)
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

struct System;

impl Host for System {
    fn wall(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }

    fn monotonic(&self) -> Monotonic {
        host_monotonic()
    }

    fn boot(&self) -> Arc<str> {
        boot_id()
    }

    fn random(&self) -> u64 {
        thread_random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<()>) -> JoinHandle<()> {
        tokio::spawn(task)
    }

    fn spawn_apart(&self, name: &'static str, task: BoxFuture<()>) -> JoinHandle<()> {
        // A blocking thread of the runtime, so that the runtime waits for it, with a small runtime of its own, so
        // that timers and store calls go on while every worker thread is busy.
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || {
            let _entered = span.enter();
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(task),
                Err(error) => tracing::error!(%error, name, "no runtime for a loop of its own; it does not run"),
            }
        })
    }
}

/// A small fast generator per thread, seeded from the operating system by way of a UUID.
fn thread_random() -> u64 {
    use std::cell::Cell;
    thread_local!(static STATE: Cell<u64> = Cell::new(Uuid::new_v4().as_u64_pair().0 ^ Uuid::new_v4().as_u64_pair().1));
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        mix(next)
    })
}

/// How many threads this process can have at work at once.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// Blocks a thread of our own (never one of the runtime's) for a moment, while it waits for another process.
#[cfg(feature = "sqlite")]
pub(crate) fn block_thread(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(unix)]
fn host_monotonic() -> Monotonic {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Monotonic(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000))
}

#[cfg(not(unix))]
fn host_monotonic() -> Monotonic {
    use std::{sync::OnceLock, time::Instant};
    static START: OnceLock<Instant> = OnceLock::new();
    Monotonic(START.get_or_init(Instant::now).elapsed().as_micros() as i64)
}

/// Linux names each boot. Elsewhere one name has to do, and a lease that ends later than any lease could is taken
/// for one of another boot.
fn boot_id() -> Arc<str> {
    use std::sync::OnceLock;
    static BOOT: OnceLock<Arc<str>> = OnceLock::new();
    BOOT.get_or_init(|| match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().into(),
        Err(_) => "this boot".into(),
    })
    .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_age_and_differ() {
        let env = Env::system();
        let ids: Vec<_> = (0..100).map(|_| env.new_id()).collect();
        let mut unique = ids.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), 100);
        assert!(ids[0].as_uuid().unwrap().get_version_num() == 7);
    }

    #[test]
    fn jitter_stays_between_half_and_whole() {
        let env = Env::system();
        for _ in 0..1000 {
            let wait = env.jittered(Duration::from_secs(1));
            assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_secs(1));
        }
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let env = Env::system();
        let first = env.monotonic();
        assert!(env.monotonic() >= first);
        assert!(!env.boot().is_empty());
    }
}
