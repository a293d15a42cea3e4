//! Runs a real server over a store until there is nothing more to do at this moment of the kit's clock, and counts what
//! came of it. Waits for events, never for time: the server's own clock stands still.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::layer::Layer;
use crate::{
    job::{JobFilter, JobId, State},
    maintain::aggregator::Looked,
    server::{
        Server,
        events::{Event, EventKind},
    },
    store::{Backend, Claim, ClaimRequest, Finish, Finished, Result, WakeUps},
};

/// More runs than this in one call are surely a job that is put off by no time, again and again.
const MAX_RUNS: u32 = 100_000;

/// What came of the runs of a [`Kit`](super::Kit).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::{RawJob, Router, testing::Kit};
/// async fn fail(_: RawJob) -> windlass::Result {
///     Err("not today".into())
/// }
/// let kit = Kit::new(Router::new().at("*", fail));
/// kit.client().enqueue(RawJob::new("mail", "{}")).await?;
/// let ran = kit.run_due().await;
/// assert_eq!((ran.runs(), ran.retried), (1, 1), "{ran}");
/// assert!(ran.errors[0].ends_with("not today"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Runs that ended well.
    pub completed: u32,
    /// Runs that failed and whose jobs will be tried again.
    pub retried: u32,
    /// Runs that put their jobs off without burning an attempt.
    pub snoozed: u32,
    /// Runs after which the job was dead.
    pub dead: u32,
    /// Runs whose jobs were cancelled.
    pub cancelled: u32,
    /// Runs that were given back: the handler stopped because its server did.
    pub released: u32,
    /// Groups that became a job.
    pub flushed: u32,
    /// The errors of these runs, one line each: kind, id, message; and of aggregators: queue, group, message. For the
    /// messages of assertions.
    pub errors: Vec<String>,
}

impl Drained {
    /// All runs.
    pub fn runs(&self) -> u32 {
        self.completed + self.retried + self.snoozed + self.dead + self.cancelled + self.released
    }

    pub(super) fn add(&mut self, other: Drained) {
        self.completed += other.completed;
        self.retried += other.retried;
        self.snoozed += other.snoozed;
        self.dead += other.dead;
        self.cancelled += other.cancelled;
        self.released += other.released;
        self.flushed += other.flushed;
        self.errors.extend(other.errors);
    }

    pub(super) fn add_groups(&mut self, groups: Looked) {
        self.flushed += groups.flushed;
        let failed = groups.failed.into_iter();
        self.errors.extend(failed.map(|(key, problem)| format!("{} {}: {problem}", key.queue, key.name)));
    }

    fn count(&mut self, state: Option<State>) {
        let counter = match state {
            Some(State::Completed) => &mut self.completed,
            Some(State::Retrying) => &mut self.retried,
            Some(State::Scheduled) => &mut self.snoozed,
            Some(State::Dead) => &mut self.dead,
            Some(State::Cancelled) => &mut self.cancelled,
            _ => &mut self.released,
        };
        *counter += 1;
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Drained { completed, retried, snoozed, dead, cancelled, released, flushed, errors } = self;
        write!(f, "{completed} completed, {retried} retried, {snoozed} snoozed, {dead} dead, {cancelled} cancelled, ")?;
        write!(f, "{released} released")?;
        if *flushed > 0 {
            write!(f, ", {flushed} groups flushed")?;
        }
        errors.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

/// What the layer under a driven server has seen.
#[derive(Default)]
pub(super) struct Seen {
    notes: Mutex<Notes>,
    turned: Notify,
}

#[derive(Default)]
struct Notes {
    drained: Drained,
    /// Set while the last claim gave nothing: the store's hints since then.
    empty: Option<WakeUps>,
    /// Errors on their way into the store, until the event says what became of the job.
    messages: FxHashMap<JobId, String>,
}

impl Seen {
    fn hear(&self, event: &Event) {
        let mut notes = self.notes.lock();
        if matches!(event.event, EventKind::Finished | EventKind::Released) {
            let message = notes.messages.remove(&event.id);
            notes.drained.errors.extend(message.map(|text| format!("{} {}: {text}", event.kind, event.id)));
            notes.drained.count(event.state);
        }
        drop(notes);
        self.turned.notify_one();
    }

    /// Whether the last claim gave nothing and nothing has changed in the store since.
    fn found_nothing(&self) -> bool {
        let mut notes = self.notes.lock();
        let changed = notes.empty.as_mut().map(|wakeups| wakeups.changed().now_or_never().is_some());
        match changed {
            None => false,
            // What was heard is used up: only another claim can say that there is nothing.
            Some(true) => {
                notes.empty = None;
                false
            }
            Some(false) => true,
        }
    }

    fn runs(&self) -> u32 {
        self.notes.lock().drained.runs()
    }
}

/// The store as a driven server sees it: all goes through, and claims and errors are noted.
pub(super) struct Observed {
    pub(super) store: Arc<dyn Backend>,
    pub(super) seen: Arc<Seen>,
}

#[async_trait]
impl Layer for Observed {
    fn inner(&self) -> &dyn Backend {
        &*self.store
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        // Before the claim, or a job that comes in between would not count as a change.
        let wakeups = self.store.wakeups();
        let claim = self.store.claim(request).await?;
        let nothing = claim.jobs.is_empty() && claim.suspect_waiting.is_none() && request.limit > 0;
        self.seen.notes.lock().empty = nothing.then_some(wakeups);
        self.seen.turned.notify_one();
        Ok(claim)
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
        let failed = batch.iter().filter_map(|finish| Some((finish.lease.id.clone(), finish.error.as_ref()?)));
        let messages: Vec<_> = failed.map(|(id, error)| (id, error.message.to_string())).collect();
        self.seen.notes.lock().messages.extend(messages);
        self.store.finish(batch).await
    }
}

/// Runs the server until it holds nothing and finds nothing.
///
/// # Panics
/// When nothing happens for as long as `patience`, in the time of the outside world; and when there is no end to it.
pub(super) async fn drive(server: Server, seen: &Arc<Seen>, store: &dyn Backend, patience: Duration) -> Drained {
    let ears = seen.clone();
    let server = server.on_event(move |event| ears.hear(event)).start().await;
    let server = server.unwrap_or_else(|error| panic!("the server of the kit does not start: {error}"));
    while server.health().held > 0 || !seen.found_nothing() {
        assert!(
            seen.runs() < MAX_RUNS,
            "{MAX_RUNS} runs and no end: does a job retry, put itself off or enqueue itself without any wait?"
        );
        // A handler may do real work, so this is the time of the outside world. It ends only tests that hang.
        if tokio::time::timeout(patience, seen.turned.notified()).await.is_err() {
            panic!("{}", stuck(store, patience).await);
        }
    }
    server.shutdown().await;
    std::mem::take(&mut seen.notes.lock().drained)
}

/// What to say when nothing happens any more.
async fn stuck(store: &dyn Backend, patience: Duration) -> String {
    let running = store.list(&JobFilter::default().state(State::Running), None, 20).await.unwrap_or_default();
    let jobs: Vec<_> = running.items.iter().map(|job| format!("{} {}", job.spec.kind, job.id())).collect();
    format!(
        "nothing has happened for {patience:?} of real time; running: [{}]. A handler that waits for the kit's time needs \
         somebody who moves its clock meanwhile (kit.clock()); one that waits for another job needs a second slot \
         (KitBuilder::server, Server::concurrency); one that works for longer needs KitBuilder::patience",
        jobs.join(", ")
    )
}
