//! Runs something now and then on an interval, in this process. Runs do not overlap, do not drift, and are not made up
//! for. For something that must happen once however many processes run, a ticker is not enough.

use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    decide::ticks::{due_after, next_tick},
    env::Env,
    job::Monotonic,
};

/// The shortest interval.
const SHORTEST: Duration = Duration::from_millis(1);

/// Runs `work` at once and then on every tick of the interval (at least 1 ms).
///
/// Ticks are at fixed distances from the start, so a late wake-up moves none that follow. A run that lasts past a tick
/// is not joined by another one: that tick is left out and [counted](Ticker::missed). A panic ends its run only; it is
/// logged and counted.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// let (beats, mut heard) = tokio::sync::mpsc::unbounded_channel();
/// let ticker = windlass::periodic(Duration::from_millis(5), move || {
///     let beats = beats.clone();
///     async move { drop(beats.send("beat")) }
/// })
/// .start();
/// heard.recv().await; // at once
/// heard.recv().await; // 5 ms later
/// ticker.stop().await;
/// # }
/// ```
pub fn periodic<F, Fut>(interval: Duration, work: F) -> Periodic<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Periodic { interval: interval.max(SHORTEST), work, parent: None, env: Env::system() }
}

/// What is to run on an interval; see [`periodic`].
#[must_use = "nothing runs until it is started"]
pub struct Periodic<F> {
    interval: Duration,
    work: F,
    parent: Option<CancellationToken>,
    env: Env,
}

/// A running ticker. Dropping it stops it without waiting for the run that is under way.
#[must_use = "dropping the handle stops the ticker"]
pub struct Ticker {
    counts: Arc<Counts>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What came of the ticks so far.
#[derive(Default)]
pub(crate) struct Counts {
    runs: AtomicU64,
    missed: AtomicU64,
    panics: AtomicU64,
}

impl Counts {
    /// A run begins.
    pub(crate) fn begin(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// So many ticks are left out.
    pub(crate) fn miss(&self, ticks: u64) {
        self.missed.fetch_add(ticks, Ordering::Relaxed);
    }

    /// A run panicked.
    pub(crate) fn panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

impl<F, Fut> Periodic<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    /// Stops when this token is cancelled, too. A run that is under way goes on to its end.
    pub fn cancel_on(mut self, parent: CancellationToken) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Other clocks, for tests.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Starts it beside the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Ticker {
        let counts = Arc::new(Counts::default());
        let stop = self.parent.as_ref().map_or_else(CancellationToken::new, CancellationToken::child_token);
        let env = self.env.clone();
        let task = env.spawn(self.tick(counts.clone(), stop.clone()));
        Ticker::new(counts, stop, task)
    }

    async fn tick(mut self, counts: Arc<Counts>, stop: CancellationToken) {
        let began = self.env.monotonic();
        let mut tick = 0;
        while !stop.is_cancelled() {
            self.run(&counts).await;
            let next = next_tick(self.interval, tick, self.env.monotonic().since(began));
            counts.miss(next.missed);
            tick = next.number;
            if !sleep_until(&self.env, began.after(due_after(self.interval, tick)), &stop).await {
                return;
            }
        }
    }

    async fn run(&mut self, counts: &Counts) {
        counts.begin();
        // The call itself may panic, before there is a future.
        let run = AssertUnwindSafe(async { (self.work)().await });
        if run.catch_unwind().await.is_err() {
            counts.panic();
            tracing::error!(interval = ?self.interval, "a periodic run panicked; the next one comes with its tick");
        }
    }
}

/// Sleeps until then; false when it was stopped meanwhile.
async fn sleep_until(env: &Env, due: Monotonic, stop: &CancellationToken) -> bool {
    loop {
        let left = due.since(env.monotonic());
        if left.is_zero() {
            return true;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = env.sleep(left) => {}
        }
    }
}

impl Ticker {
    /// A loop that counts here, and ends once it is told to.
    pub(crate) fn new(counts: Arc<Counts>, stop: CancellationToken, task: JoinHandle<()>) -> Self {
        Self { counts, stop, task }
    }

    /// Tells it to end, and does not wait.
    pub(crate) fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    /// How many runs have begun.
    pub fn runs(&self) -> u64 {
        self.counts.runs.load(Ordering::Relaxed)
    }

    /// How many ticks were left out, because the run before them lasted too long or the process stood still.
    pub fn missed(&self) -> u64 {
        self.counts.missed.load(Ordering::Relaxed)
    }

    /// How many runs panicked.
    pub fn panics(&self) -> u64 {
        self.counts.panics.load(Ordering::Relaxed)
    }

    /// Begins no more runs, and returns when the one that is under way has ended.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // It fails only when the runtime ends meanwhile.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, missed, panics) = (self.runs(), self.missed(), self.panics());
        let mut shown = f.debug_struct("Ticker");
        shown.field("runs", &runs).field("missed", &missed).field("panics", &panics).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Periodic<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Periodic").field("interval", &self.interval).finish_non_exhaustive()
    }
}
