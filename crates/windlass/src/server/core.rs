//! What the parts of a running server share, and how they are started and stopped together.
//!
//! - `dispatcher.rs` claims jobs and hands them to slots. `executor.rs` is a slot: it runs one job after the other.
//! - `finisher.rs` reports outcomes, `reporter.rs` what runs say before. `keeper.rs` renews leases, on a thread of its
//!   own.
//! - `maintain/` promotes, rescues and prunes; the same in every server.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinHandle};
use tracing::{error, info, warn};

use super::{
    RunningServer, Tasks,
    blocking::Seats,
    builder::Config,
    dispatcher,
    events::{Event, EventKind},
    executor,
    finisher::{self, Reports},
    guards::Guards,
    held::Held,
    keeper,
    queue::RunQueue,
    reporter::{self, Desk},
    router::Routes,
    run::{Phase, Run, StopCause},
    taken::Taken,
};
use crate::{
    client::Client,
    decide::{pace::Pace, queues::QueuePlan},
    env::Env,
    error::Error,
    job::{Pattern, QueueName, ServerId, State, Timestamp, Verdict},
    maintain::{self, scheduler},
    store::{Backend, Claimed, Finish, ServerInfo, StoreError},
};

/// For each slot, how many jobs may stand in line for due ones still to be added.
const LOOK_AHEAD: u32 = 4;

/// Where a server is in its life. Only ever rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Life {
    Running = 0,
    /// Claims no more, and runs what it has.
    Quiet = 1,
    /// Gives back what has not started, and waits for what runs.
    Stopping = 2,
    /// The reports are in; everything else is to end.
    Ended = 3,
}

/// The life of a server and those who wait for the next part of it. No `tokio::sync::watch`, which wakes them in an
/// order of chance: the simulation must run the same way twice.
#[derive(Default)]
struct Course {
    now: AtomicU8,
    risen: Notify,
}

pub(crate) struct Core {
    pub(crate) id: ServerId,
    pub(crate) client: Client,
    pub(crate) env: Env,
    pub(crate) config: Config,
    pub(crate) routes: Routes,
    pub(crate) queues: Vec<(QueueName, u32)>,
    pub(crate) held: Held,
    pub(crate) queue: RunQueue,
    pub(crate) reports: Reports,
    pub(crate) desk: Arc<Desk>,
    pub(crate) leaked: AtomicU32,
    /// Claimed jobs by rule, from claim to the end of the handler.
    pub(crate) by_rule: Arc<[AtomicU32]>,
    pub(crate) guards: Guards,
    pub(crate) seats: Arc<Seats>,
    /// How long runs take. The finisher notes it, batch by batch.
    pub(crate) pace: Mutex<Pace>,
    pub(crate) taken: Taken,
    pub(crate) store_up: AtomicBool,
    /// Why the store refuses to give jobs, as long as it does.
    refusal: Mutex<Option<StoreError>>,
    /// Why the server has shut down by itself.
    failure: Mutex<Option<Arc<str>>>,
    pub(crate) started_at: Timestamp,
    life: Course,
}

impl Core {
    pub(crate) async fn start(
        client: Client,
        routes: Routes,
        plan: QueuePlan,
        config: Config,
    ) -> Result<RunningServer, Error> {
        let env = client.env().clone();
        let by_rule: Arc<[AtomicU32]> = config.kinds.rules.iter().map(|_| AtomicU32::new(0)).collect();
        let core = Arc::new(Core {
            id: env.new_server_id(),
            env: env.clone(),
            queues: plan.queues().map(|(queue, weight)| (queue.clone(), weight)).collect(),
            guards: Guards::new(&config, env.monotonic()),
            seats: Seats::new(&env, config.blocking_threads, by_rule.clone()),
            by_rule,
            held: Held::default(),
            queue: RunQueue::default(),
            reports: Reports::default(),
            desk: Arc::default(),
            leaked: AtomicU32::new(0),
            pace: Mutex::default(),
            taken: Taken::default(),
            store_up: AtomicBool::new(true),
            refusal: Mutex::new(None),
            failure: Mutex::default(),
            started_at: env.wall(),
            life: Course::default(),
            client,
            routes,
            config,
        });
        let cancel_log = core.first_contact().await?;
        let scheduler = scheduler::begin(&core).await?;
        let mut slots = Vec::new();
        for _ in 0..core.config.slots {
            slots.push(env.spawn(watched(&core, "a slot", executor::slot(core.clone()))));
        }
        let keeper = watched(&core, "the keeper of leases", keeper::run(core.clone(), cancel_log));
        let reporting = vec![
            env.spawn(watched(&core, "the finisher", finisher::run(core.clone()))),
            env.spawn(watched(&core, "the reporter", reporter::run(core.clone()))),
            env.spawn_apart("windlass-keeper", keeper),
        ];
        let mut loops = vec![env.spawn(watched(&core, "the dispatcher", dispatcher::run(core.clone(), plan)))];
        loops.extend(maintain::start(&core, scheduler));
        Ok(RunningServer::new(core, Tasks { slots, loops, reporting }))
    }

    /// Says that the server lives, and answers where the cancel log stands. A store that is away is no mistake of the
    /// set-up: the server waits for it, and reads the log from its beginning.
    async fn first_contact(&self) -> Result<u64, StoreError> {
        let contact = async {
            self.store().beat(&self.info()).await?;
            Ok(self.store().cancelled(None).await?.last)
        };
        match contact.await {
            Err(error) if StoreError::is_retryable(&error) => {
                self.store_up.store(false, Ordering::Relaxed);
                warn!(%error, "the store is away; the server starts and waits for it");
                Ok(0)
            }
            contact => contact,
        }
    }

    pub(crate) fn store(&self) -> &dyn Backend {
        &**self.client.store()
    }

    /// How many jobs may stand in line for due ones still to be added: enough that no slot waits for the next of them,
    /// and so few that a fresh job is not long behind them.
    pub(crate) fn look_ahead(&self) -> u32 {
        self.config.slots.saturating_mul(LOOK_AHEAD)
    }

    /// The store has answered a claim.
    pub(crate) fn claimed(&self) {
        self.store_up.store(true, Ordering::Relaxed);
        if self.refusal.lock().take().is_some() {
            info!("the store gives jobs again");
        }
    }

    /// The store has refused a claim. Said once, not at each of the tries that follow.
    pub(crate) fn refused(&self, error: &StoreError) {
        self.store_up.store(false, Ordering::Relaxed);
        let before = self.refusal.lock().replace(error.clone());
        if before.is_none_or(|before| before.to_string() != error.to_string()) {
            error!(%error, "the store refuses to give jobs; trying again until it gives some");
        }
    }

    /// Why the server has shut down by itself, if it has.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.failure.lock().clone()
    }

    /// Why the store refuses to give jobs, if it does.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        self.refusal.lock().clone()
    }

    pub(crate) fn life(&self) -> Life {
        match self.life.now.load(Ordering::Acquire) {
            0 => Life::Running,
            1 => Life::Quiet,
            2 => Life::Stopping,
            _ => Life::Ended,
        }
    }

    /// Moves on to a later part of the life; an earlier one is not gone back to.
    pub(crate) fn enter(&self, life: Life) {
        if self.life.now.fetch_max(life as u8, Ordering::AcqRel) < life as u8 {
            self.life.risen.notify_waiters();
        }
    }

    /// Waits until the server's life has come to `life`.
    pub(crate) async fn reached(&self, life: Life) {
        loop {
            let risen = self.life.risen.notified();
            tokio::pin!(risen);
            // Line up before the look, or a step in between would be missed.
            risen.as_mut().enable();
            if self.life() >= life {
                return;
            }
            risen.await;
        }
    }

    /// Waits this long, or until the server's life has come to `life`; says which: true for the latter.
    pub(crate) async fn sleep_until(&self, life: Life, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.reached(life) => true,
            () = self.env.sleep(wait) => false,
        }
    }

    pub(crate) fn tell(&self, event: EventKind, job: &Claimed, state: Option<State>) {
        if !self.config.on_event.is_empty() {
            self.tell_at(self.env.wall(), event, job, state);
        }
    }

    /// For many at once, which share one look at the clock.
    pub(crate) fn tell_at(&self, at: Timestamp, event: EventKind, job: &Claimed, state: Option<State>) {
        if !self.config.on_event.is_empty() {
            self.tell_all(&Event::of(at, event, job, self.id, state));
        }
    }

    pub(crate) fn tell_all(&self, event: &Event) {
        for listener in &self.config.on_event {
            executor::guarded("a listener for events", || listener(event));
        }
    }

    /// Gives back a job that has not started.
    pub(crate) fn release(&self, run: Arc<Run>) {
        if run.advance(Phase::Queued, Phase::Ended) {
            self.judged(&run, None);
            self.let_go_of_rule(&run);
            let finish = Finish {
                lease: run.claimed.lease(),
                verdict: Verdict::Release,
                error: None,
                result: None,
                then: Vec::new(),
                ran: Duration::ZERO,
                news: Vec::new(),
            };
            self.reports.push(run, finish);
        }
    }

    pub(crate) fn let_go_of_rule(&self, run: &Run) {
        if let Some(rule) = run.rule {
            self.by_rule[rule].fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Slots and threads whose handlers ignored their end.
    pub(crate) fn leaked(&self) -> u32 {
        self.leaked.load(Ordering::Relaxed) + self.seats.leaked()
    }

    pub(crate) fn info(&self) -> ServerInfo {
        let mut info = ServerInfo::new(self.id, self.started_at);
        info.host = hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        info.pid = std::process::id();
        info.queues = self.queues.clone();
        info.kinds = self.config.kinds.rules.iter().map(|rule| rule.pattern.to_string()).collect();
        info.groups = self.config.groups.iter().map(Pattern::to_string).collect();
        info.schedules = self.config.schedules.iter().map(|schedule| schedule.name.to_string()).collect();
        info.slots = self.config.slots;
        info.busy = self.queue.busy();
        info.leaked = self.leaked();
        info.breakers = self.breakers();
        info.quiet = self.life() >= Life::Quiet;
        info
    }

    /// Tells everything that runs to stop.
    pub(crate) fn stop_all(&self, cause: &StopCause, grace: Duration) {
        let now = self.env.monotonic();
        for run in self.held.runs() {
            run.stop(cause.clone(), now, grace);
        }
    }
}

/// A part of the server. If it panics, the server cannot do its work any more: it shuts down and says why, instead of
/// standing there with jobs that nobody runs.
pub(crate) fn watched(
    core: &Arc<Core>,
    part: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let core = core.clone();
    async move {
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            let problem = format!("{part} of the server panicked: {}", executor::panic_text(&*panic));
            // First, since the log may be what panics.
            core.failure.lock().get_or_insert_with(|| problem.as_str().into());
            core.enter(Life::Stopping);
            let _ = std::panic::catch_unwind(|| error!("{problem}; the server shuts down"));
        }
    }
}

/// Ends tasks that were told to end and did not.
pub(crate) async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        // A task that panicked has been reported by the runtime; the others still end in order.
        let _ = task.await;
    }
}
