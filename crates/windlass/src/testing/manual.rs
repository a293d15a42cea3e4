//! A place whose clocks move only by hand, and whose randomness is the same in every run.
//! Tasks run on the current tokio runtime; a sleeper wakes when the clock has been moved far enough.
//! It does not know when everybody is idle: a test moves the clock and says what it waits for.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    env::{BoxFuture, Env, Host, mix},
    job::{Monotonic, Timestamp},
};

/// Moves the time of the [`Env`]s made of it. Clones move the same time.
///
/// ```
/// use std::time::Duration;
/// use windlass::testing::ManualClock;
/// let clock = ManualClock::new();
/// let env = clock.env();
/// let before = env.wall();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(env.wall(), before.after(Duration::from_secs(5)));
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Inner>);

struct Inner {
    clocks: Mutex<Clocks>,
    /// All time that was ever advanced. Sleepers go by it, so that neither a step nor a reboot wakes or delays them.
    elapsed: watch::Sender<Duration>,
    random: AtomicU64,
}

struct Clocks {
    wall: Timestamp,
    monotonic: Monotonic,
    boot: u64,
}

/// 2026-01-01T00:00:00Z: the beginning of a minute, of an hour and of a year.
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// Some days after boot, so that a reboot makes the monotonic clock go back, as it does on a real host.
const UPTIME: Monotonic = Monotonic(1_000_000_000_000);

impl ManualClock {
    /// A clock at 2026-01-01T00:00:00Z, with the randomness of seed 0.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// The same with other randomness.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Inner {
            clocks: Mutex::new(Clocks { wall: START, monotonic: UPTIME, boot: 1 }),
            elapsed: watch::Sender::new(Duration::ZERO),
            random: AtomicU64::new(mix(seed)),
        }))
    }

    /// The place whose time this clock moves.
    pub fn env(&self) -> Env {
        Env::new(self.clone())
    }

    /// Lets time pass on both clocks and wakes the sleepers whose time has come.
    pub fn advance(&self, duration: Duration) {
        {
            let mut clocks = self.0.clocks.lock();
            clocks.wall = clocks.wall.after(duration);
            clocks.monotonic = clocks.monotonic.after(duration);
        }
        self.0.elapsed.send_modify(|elapsed| *elapsed = elapsed.saturating_add(duration));
    }

    /// Sets the wall clock forward, as an administrator or NTP would; the monotonic clock does not notice.
    pub fn step_wall_forward(&self, by: Duration) {
        self.step_wall(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Sets the wall clock back.
    pub fn step_wall_back(&self, by: Duration) {
        self.step_wall(-i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Steps the wall clock by this many microseconds, forward or back.
    pub fn step_wall(&self, micros: i64) {
        let mut clocks = self.0.clocks.lock();
        clocks.wall = Timestamp::from_micros(clocks.wall.as_micros().saturating_add(micros));
    }

    /// Gives the host another boot: the monotonic clock begins again. The wall clock goes on.
    pub fn reboot(&self) {
        let mut clocks = self.0.clocks.lock();
        clocks.boot += 1;
        clocks.monotonic = Monotonic::default();
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clocks = self.0.clocks.lock();
        let Clocks { wall, monotonic, boot } = &*clocks;
        f.debug_struct("ManualClock").field("wall", wall).field("monotonic", monotonic).field("boot", boot).finish()
    }
}

impl Host for ManualClock {
    fn wall(&self) -> Timestamp {
        self.0.clocks.lock().wall
    }

    fn monotonic(&self) -> Monotonic {
        self.0.clocks.lock().monotonic
    }

    fn boot(&self) -> Arc<str> {
        format!("boot {}", self.0.clocks.lock().boot).into()
    }

    fn random(&self) -> u64 {
        // The sequence of SplitMix64: a counter with a golden step, mixed.
        mix(self.0.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        let clock = self.clone();
        let until = clock.0.elapsed.borrow().saturating_add(duration);
        Box::pin(async move {
            // Fails only when the sender is gone, and the clock we hold keeps it.
            let _ = clock.0.elapsed.subscribe().wait_for(|elapsed| *elapsed >= until).await;
        })
    }

    fn spare(&self, _duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::task::yield_now())
    }

    fn spawn(&self, task: BoxFuture<()>) -> JoinHandle<()> {
        tokio::spawn(task)
    }

    fn spawn_apart(&self, _name: &'static str, task: BoxFuture<()>) -> JoinHandle<()> {
        tokio::spawn(task)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_step_moves_only_the_wall_clock_and_a_reboot_starts_the_monotonic_one_again() {
        let clock = ManualClock::new();
        let (wall, monotonic, boot) = (clock.wall(), clock.monotonic(), clock.boot());
        clock.step_wall_back(SECOND);
        assert_eq!((clock.wall(), clock.monotonic()), (wall.before(SECOND), monotonic));
        clock.reboot();
        assert_eq!(clock.wall(), wall.before(SECOND));
        assert!(clock.monotonic() < monotonic);
        assert_ne!(clock.boot(), boot);
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_clock_has_been_moved_far_enough() {
        let clock = ManualClock::new();
        let mut sleep = clock.env().sleep(2 * SECOND);
        clock.advance(SECOND);
        clock.step_wall_forward(60 * SECOND);
        clock.reboot();
        assert!((&mut sleep).now_or_never().is_none());
        clock.advance(SECOND);
        assert!(sleep.now_or_never().is_some());
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let clock = ManualClock::seeded(seed);
            [clock.random(), clock.random(), clock.random()]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert_ne!(numbers(7)[0], numbers(7)[1]);
    }
}
