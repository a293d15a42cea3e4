//! A simulated host: one seed, one virtual time, and processes that can be frozen and killed at any await.
//!
//! It runs on tokio's paused time and one thread, so time jumps to the next timer whenever nobody has anything to do,
//! and the same seed gives the same run. For that the code under test may use nothing of chance but its [`Env`]:
//! `select!` must be `biased`, and no hash map with random keys may decide an order.
#![allow(
    clippy::disallowed_methods,
    reason = "the simulation is another place to run in: it reads tokio's virtual clock"
)]

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

use crate::{
    env::{Blocking, BoxFuture, Env, Host, Work, mix},
    job::{Monotonic, Timestamp},
};

/// 2026-01-01T00:00:00Z, where every world begins.
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// How long the host has been up when a world begins.
const UPTIME: Duration = Duration::from_secs(1_000_000);

/// A simulated host. Clones are the same host.
///
/// ```
/// use std::time::Duration;
/// use windlass::testing::World;
/// let elapsed = World::run(7, async |world| {
///     let process = world.process("worker");
///     let env = process.env();
///     env.sleep(Duration::from_secs(3600)).await; // takes no real time
///     world.elapsed()
/// });
/// assert_eq!(elapsed, Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct World(Arc<Shared>);

struct Shared {
    began: Instant,
    seed: u64,
    host: Process,
    processes: Mutex<Vec<Process>>,
}

impl World {
    /// Runs a simulation to its end, on a runtime of its own. Whatever still runs then is killed.
    ///
    /// # Panics
    /// When it panics, and inside another runtime.
    pub fn run<T>(seed: u64, simulation: impl AsyncFnOnce(World) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without input and output needs nothing of the system");
        runtime.block_on(async {
            let began = Instant::now();
            let host = Process::new("host", began, mix(seed ^ mix(1)));
            let world = World(Arc::new(Shared { began, seed, host, processes: Mutex::default() }));
            let answer = simulation(world.clone()).await;
            world.0.processes.lock().iter().for_each(Process::kill);
            answer
        })
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The place of the host itself, for what no fault touches: stores and networks.
    pub fn env(&self) -> Env {
        self.0.host.env()
    }

    /// A new process with randomness of its own.
    pub fn process(&self, name: impl Into<String>) -> Process {
        let mut processes = self.0.processes.lock();
        let stream = mix(self.0.seed ^ mix(2 + processes.len() as u64));
        let process = Process::new(name, self.0.began, stream);
        process.0.wall_offset.store(self.0.host.0.wall_offset.load(Ordering::Relaxed), Ordering::Relaxed);
        processes.push(process.clone());
        process
    }

    /// How much virtual time has gone by.
    pub fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Waits until this much virtual time has gone by since the beginning.
    pub async fn sleep_until(&self, elapsed: Duration) {
        tokio::time::sleep_until(self.0.began + elapsed).await;
    }

    /// Steps the wall clock of the host and all its processes by this many microseconds, as an administrator would.
    /// The monotonic clock does not notice.
    pub fn step_wall(&self, micros: i64) {
        self.0.host.step_wall(micros);
        self.0.processes.lock().iter().for_each(|process| process.step_wall(micros));
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("seed", &self.0.seed).field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}

/// A process of a [`World`]: it runs what was spawned through its [`Env`]. Clones are the same process.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    name: String,
    began: Instant,
    random: AtomicU64,
    wall_offset: AtomicI64,
    condition: Mutex<Condition>,
}

#[derive(Default)]
struct Condition {
    dead: bool,
    frozen: bool,
    spawned: u64,
    tasks: Vec<AbortHandle>,
    /// Tasks that had something to do while they were frozen, in the order in which they were spawned.
    asleep: BTreeMap<u64, Waker>,
}

impl Process {
    fn new(name: impl Into<String>, began: Instant, stream: u64) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            began,
            random: AtomicU64::new(stream),
            wall_offset: AtomicI64::new(0),
            condition: Mutex::default(),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its clocks, its randomness and its tasks.
    pub fn env(&self) -> Env {
        Env::new(self.clone())
    }

    /// Stops it as SIGSTOP does: none of its tasks goes on until [`thaw`](Self::thaw). Time goes on.
    pub fn freeze(&self) {
        self.0.condition.lock().frozen = true;
    }

    /// Lets it go on, as SIGCONT does.
    pub fn thaw(&self) {
        let asleep = {
            let mut condition = self.0.condition.lock();
            condition.frozen = false;
            std::mem::take(&mut condition.asleep)
        };
        asleep.into_values().for_each(Waker::wake);
    }

    /// Ends it as SIGKILL does: no task of it runs any further, and nothing more is spawned.
    pub fn kill(&self) {
        let tasks = {
            let mut condition = self.0.condition.lock();
            condition.dead = true;
            std::mem::take(&mut condition.tasks)
        };
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Whether it has not been killed.
    pub fn is_alive(&self) -> bool {
        !self.0.condition.lock().dead
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.0.condition.lock().frozen
    }

    /// Steps the wall clock as this process sees it.
    pub fn step_wall(&self, micros: i64) {
        self.0.wall_offset.fetch_add(micros, Ordering::Relaxed);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (alive, frozen) = (self.is_alive(), self.is_frozen());
        f.debug_struct("Process").field("name", &self.0.name).field("alive", &alive).field("frozen", &frozen).finish()
    }
}

impl Host for Process {
    fn wall(&self) -> Timestamp {
        let micros = crate::job::micros(self.0.began.elapsed()) + self.0.wall_offset.load(Ordering::Relaxed);
        Timestamp::from_micros(START.as_micros() + micros)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::default().after(UPTIME + self.0.began.elapsed())
    }

    fn boot(&self) -> Arc<str> {
        "the only boot".into()
    }

    fn random(&self) -> u64 {
        // The sequence of SplitMix64: a counter with a golden step, mixed.
        mix(self.0.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<()>) -> JoinHandle<()> {
        let mut condition = self.0.condition.lock();
        condition.spawned += 1;
        let task = Freezable { process: Arc::downgrade(&self.0), number: condition.spawned, task };
        if condition.dead {
            // What is dropped on the way out of a killed process must not act: the task is never polled.
            drop(condition);
            return tokio::spawn(async move { drop(task) });
        }
        let handle = tokio::spawn(task);
        if condition.tasks.len() >= 64 && condition.spawned.is_multiple_of(64) {
            condition.tasks.retain(|task| !task.is_finished());
        }
        condition.tasks.push(handle.abort_handle());
        handle
    }

    fn spawn_apart(&self, _name: &'static str, task: BoxFuture<()>) -> JoinHandle<()> {
        self.spawn(task)
    }

    fn blocking(&self, _threads: u32) -> Arc<dyn Blocking> {
        Arc::new(InTasks(Arc::downgrade(&self.0)))
    }
}

/// What blocks runs in a task, in no time.
struct InTasks(Weak<Inner>);

impl Blocking for InTasks {
    fn run(&self, work: Work) {
        if let Some(process) = self.0.upgrade() {
            Process(process).spawn(Box::pin(async move { work() }));
        }
    }
}

/// A task that stands still while its process is frozen, and for good once it is dead.
struct Freezable {
    /// Weak, since a task of a process often holds the process.
    process: Weak<Inner>,
    number: u64,
    task: BoxFuture<()>,
}

impl Future for Freezable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(process) = self.process.upgrade() {
            let mut condition = process.condition.lock();
            if condition.dead {
                return Poll::Pending;
            }
            if condition.frozen {
                condition.asleep.insert(self.number, cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.task.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A process that counts the seconds.
    fn counting(world: &World) -> (Process, Arc<AtomicU32>) {
        let (process, counter) = (world.process("counter"), Arc::new(AtomicU32::new(0)));
        let (env, count) = (process.env(), counter.clone());
        process.env().spawn(async move {
            loop {
                env.sleep(SECOND).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        (process, counter)
    }

    #[test]
    fn a_frozen_process_stands_still_and_goes_on_when_it_is_thawed() {
        World::run(1, async |world| {
            let (process, counter) = counting(&world);
            world.sleep_until(SECOND * 3 + SECOND / 2).await;
            process.freeze();
            world.sleep_until(SECOND * 10).await;
            assert_eq!(counter.load(Ordering::Relaxed), 3);
            process.thaw();
            world.sleep_until(SECOND * 12 + SECOND / 2).await;
            assert_eq!(counter.load(Ordering::Relaxed), 6, "the second that ended while it was frozen, and two more");
        });
    }

    #[test]
    fn a_killed_process_runs_nothing_more_not_even_what_its_end_spawns() {
        struct LastWill(Env, Arc<AtomicU32>);
        impl Drop for LastWill {
            fn drop(&mut self) {
                let counter = self.1.clone();
                self.0.spawn(async move {
                    let _ = counter.fetch_add(100, Ordering::Relaxed);
                });
            }
        }
        World::run(1, async |world| {
            let (process, counter) = counting(&world);
            let will = LastWill(process.env(), counter.clone());
            process.env().spawn(async move {
                let _will = will;
                std::future::pending::<()>().await;
            });
            world.sleep_until(SECOND * 2 + SECOND / 2).await;
            process.kill();
            world.sleep_until(SECOND * 9).await;
            assert_eq!(counter.load(Ordering::Relaxed), 2);
            assert!(!process.is_alive());
        });
    }

    #[test]
    fn work_that_blocks_is_a_task_of_its_process() {
        World::run(1, async |world| {
            let (process, counter) = (world.process("one"), Arc::new(AtomicU32::new(0)));
            let threads = process.env().blocking(1);
            let work = |n| {
                let counter = counter.clone();
                Box::new(move || {
                    let _ = counter.fetch_add(n, Ordering::Relaxed);
                })
            };
            threads.run(work(1));
            world.sleep_until(SECOND).await;
            process.freeze();
            threads.run(work(10));
            world.sleep_until(SECOND * 2).await;
            assert_eq!(counter.load(Ordering::Relaxed), 1);
            process.thaw();
            world.sleep_until(SECOND * 3).await;
            process.kill();
            threads.run(work(100));
            world.sleep_until(SECOND * 4).await;
            assert_eq!(counter.load(Ordering::Relaxed), 11);
        });
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_nothing_else() {
        World::run(1, async |world| {
            let process = world.process("one");
            let (wall, monotonic) = (process.wall(), process.monotonic());
            world.step_wall(-3_000_000);
            assert_eq!((process.wall(), process.monotonic()), (wall.before(3 * SECOND), monotonic));
            assert_eq!(world.process("two").wall(), process.wall(), "a new process sees the host's clock");
        });
    }

    #[test]
    fn processes_have_randomness_of_their_own_and_the_same_in_every_run() {
        let numbers = |seed| {
            World::run(seed, async |world| {
                let (one, two) = (world.process("one"), world.process("two"));
                [one.random(), one.random(), two.random()]
            })
        };
        assert_eq!(numbers(5), numbers(5));
        assert_ne!(numbers(5), numbers(6));
        assert_ne!(numbers(5)[0], numbers(5)[2]);
    }
}
