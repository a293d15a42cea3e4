//! Runs something at the ticks of cron specs, in this process and without a store. Every process that starts it has its
//! own, and what was due while none ran is lost; where that matters, it needs a store.

use std::{fmt, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    decide::schedule::{
        ScheduleSpec, SpecError,
        due::{CatchUp, Due, DueRules, due},
        overlap::{Overlap, Start, Unended, overlaps},
    },
    env::{BoxFuture, Env},
    job::Timestamp,
    periodic::{Counts, Ticker},
};

/// The wall clock is looked at this often, so that a step of it is noticed.
const LOOK: Duration = Duration::from_secs(60);

/// What runs when, in this process; see [`Cron::add`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), windlass::SpecError> {
/// use windlass::Cron;
/// let cron = Cron::new()
///     .timezone("Europe/Berlin")
///     .add("0 */5 * * * *", || async { println!("every five minutes") })
///     .add("30 2 * * MON-FRI", || async { println!("at half past two, on workdays") })
///     .start()?;
/// // .. as long as the program runs ..
/// cron.stop().await; // begins nothing more, and waits for what is under way
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing runs until it is started"]
pub struct Cron {
    entries: Vec<Entry>,
    zone: Option<String>,
    overlap: Overlap,
    parent: Option<CancellationToken>,
    env: Env,
}

struct Entry {
    spec: Result<ScheduleSpec, SpecError>,
    overlap: Overlap,
    work: Box<dyn FnMut() -> BoxFuture<()> + Send>,
}

/// A running [`Cron`]. Dropping it begins no more runs, and waits for none.
#[must_use = "dropping the handle stops it"]
#[derive(Debug)]
pub struct RunningCron {
    tickers: Vec<Ticker>,
}

impl Cron {
    /// Nothing yet, in UTC.
    pub fn new() -> Self {
        Self { entries: Vec::new(), zone: None, overlap: Overlap::Skip, parent: None, env: Env::system() }
    }

    /// The zone of all specs that name none, by its IANA name.
    pub fn timezone(mut self, name: impl Into<String>) -> Self {
        self.zone = Some(name.into());
        self
    }

    /// What becomes of a tick while the run of an earlier one of the same spec has not ended, for all that are added
    /// after this. By itself [`Overlap::Skip`]. A run that is cancelled is dropped at the await where it stands.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Runs `work` at each tick of a spec: its text, or a [`ScheduleSpec`] with policies of its own. A spec that is refused
    /// is an error of [`start`](Self::start).
    ///
    /// A tick that passed while the process stood still (more than ten seconds ago) does not run, and is
    /// [counted](RunningCron::missed). A panic ends its run only; it is logged and counted.
    pub fn add<S, F, Fut>(mut self, spec: S, mut work: F) -> Self
    where
        S: TryInto<ScheduleSpec>,
        S::Error: Into<SpecError>,
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let work = Box::new(move || -> BoxFuture<()> { Box::pin(work()) });
        self.entries.push(Entry { spec: spec.try_into().map_err(Into::into), overlap: self.overlap, work });
        self
    }

    /// Stops when this token is cancelled, too. Runs that are under way go on to their end.
    pub fn cancel_on(mut self, parent: CancellationToken) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Other clocks, for tests.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Starts it beside the caller. The first runs are those of the ticks after this moment.
    ///
    /// # Errors
    /// When a spec or a zone is refused. Then nothing runs.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<RunningCron, SpecError> {
        let Self { entries, zone, parent, env, .. } = self;
        let read = |entry: Entry| -> Result<Line, SpecError> {
            let spec = entry.spec?;
            let spec = match &zone {
                Some(zone) if !spec.has_zone() => spec.timezone(zone)?,
                _ => spec,
            };
            Ok(Line::new(spec, entry.overlap, entry.work, env.clone()))
        };
        let lines = entries.into_iter().map(read).collect::<Result<Vec<Line>, SpecError>>()?;
        let start = |line: Line| {
            let stop = parent.as_ref().map_or_else(CancellationToken::new, CancellationToken::child_token);
            let counts = line.counts.clone();
            Ticker::new(counts, stop.clone(), env.spawn(line.run(stop)))
        };
        Ok(RunningCron { tickers: lines.into_iter().map(start).collect() })
    }
}

impl Default for Cron {
    fn default() -> Self {
        Self::new()
    }
}

impl RunningCron {
    /// One for each spec, in the order in which they were added: how often it ran, and what it left out.
    pub fn tickers(&self) -> &[Ticker] {
        &self.tickers
    }

    /// How many runs have begun.
    pub fn runs(&self) -> u64 {
        self.tickers.iter().map(Ticker::runs).sum()
    }

    /// How many ticks were left out, because a run lasted too long or the process stood still.
    pub fn missed(&self) -> u64 {
        self.tickers.iter().map(Ticker::missed).sum()
    }

    /// How many runs panicked.
    pub fn panics(&self) -> u64 {
        self.tickers.iter().map(Ticker::panics).sum()
    }

    /// Begins no more runs, and returns when those that are under way have ended. A tick that waits for its turn is left
    /// out.
    pub async fn stop(self) {
        for ticker in &self.tickers {
            ticker.begin_to_stop();
        }
        for ticker in self.tickers {
            ticker.stop().await;
        }
    }
}

/// One spec and its runs.
struct Line {
    spec: ScheduleSpec,
    overlap: Overlap,
    work: Box<dyn FnMut() -> BoxFuture<()> + Send>,
    env: Env,
    counts: Arc<Counts>,
    running: FuturesUnordered<JoinHandle<()>>,
    cancel: Vec<AbortHandle>,
    buffered: bool,
}

/// What happened first.
enum Turn {
    Stopped,
    Ended,
    Due,
}

impl Line {
    fn new(spec: ScheduleSpec, overlap: Overlap, work: Box<dyn FnMut() -> BoxFuture<()> + Send>, env: Env) -> Self {
        let (counts, running) = (Arc::default(), FuturesUnordered::new());
        Self { spec, overlap, work, env, counts, running, cancel: Vec::new(), buffered: false }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut mark = self.env.wall();
        let mut next = self.spec.next(mark);
        if next.is_none() {
            tracing::warn!(spec = %self.spec, "this spec names a date that no year has; it never runs");
        }
        while next.is_some() || !self.running.is_empty() {
            match self.turn(next, &stop).await {
                Turn::Stopped => break,
                Turn::Ended => self.start_what_waited(),
                Turn::Due => {
                    let rules = DueRules { catch_up: CatchUp::Skip, ..DueRules::default() };
                    let due = due(&self.spec, &rules, mark, self.env.wall());
                    self.start_what_is_due(&due);
                    (mark, next) = (due.mark, due.next);
                }
            }
        }
        while self.running.next().await.is_some() {}
    }

    async fn turn(&mut self, next: Option<Timestamp>, stop: &CancellationToken) -> Turn {
        tokio::select! {
            biased;
            () = stop.cancelled() => Turn::Stopped,
            Some(_) = self.running.next() => Turn::Ended,
            () = until(&self.env, next), if next.is_some() => Turn::Due,
        }
    }

    fn start_what_waited(&mut self) {
        if self.running.is_empty() && std::mem::take(&mut self.buffered) {
            self.start();
        }
    }

    fn start_what_is_due(&mut self, due: &Due) {
        self.counts.miss(due.missed.iter().map(|missed| missed.count).sum());
        let unended = Unended { running: self.running.len() as u64, buffered: self.buffered };
        for (_, start) in overlaps(self.overlap, unended, &due.run) {
            match start {
                Start::Now => self.start(),
                Start::InPlace => {
                    self.cancel.drain(..).for_each(|run| run.abort());
                    self.start();
                }
                Start::Buffered => self.buffered = true,
                Start::Missed => self.counts.miss(1),
            }
        }
    }

    fn start(&mut self) {
        let counts = self.counts.clone();
        counts.begin();
        let spec = self.spec.to_string();
        // The call itself may panic, before there is a future.
        let called = std::panic::catch_unwind(AssertUnwindSafe(|| (self.work)()));
        let run = self.env.spawn(async move {
            let ended = match called {
                Ok(run) => AssertUnwindSafe(run).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            if ended.is_err() {
                counts.panic();
                tracing::error!(spec, "a run panicked; the next one comes with its tick");
            }
        });
        self.cancel.retain(|run| !run.is_finished());
        self.cancel.push(run.abort_handle());
        self.running.push(run);
    }
}

/// Sleeps until the wall clock shows this, or a later time.
async fn until(env: &Env, at: Option<Timestamp>) {
    let Some(at) = at else { return };
    loop {
        let left = at.since(env.wall());
        if left.is_zero() {
            return;
        }
        env.sleep(left.min(LOOK)).await;
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cron").field("entries", &self.entries.len()).field("zone", &self.zone).finish_non_exhaustive()
    }
}
