//! The runtime that claims and runs jobs. `builder.rs` sets it up; `core.rs` says what its parts are.

pub(crate) mod blocking;
pub(crate) mod builder;
pub(crate) mod context;
pub(crate) mod core;
mod dispatcher;
pub(crate) mod events;
mod executor;
mod finisher;
pub(crate) mod group;
mod guards;
pub(crate) mod handler;
mod held;
mod keeper;
pub(crate) mod outcome;
mod queue;
mod reporter;
pub(crate) mod router;
mod rules;
pub(crate) mod run;
mod said;
pub(crate) mod steps;
mod taken;
#[cfg(feature = "tower")]
pub(crate) mod tower;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinHandle;

pub use self::builder::Server;
use self::{
    core::{Core, Life, join},
    run::StopCause,
};
use crate::{
    decide::breaker::BreakerInfo,
    job::{JobSpec, Pattern, ServerId},
    store::StoreError,
};

/// How a running server is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether the store answered last time, and gives jobs.
    pub store_up: bool,
    /// Whether it still claims jobs.
    pub claiming: bool,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How many run now.
    pub busy: u32,
    /// Slots, and threads of blocking handlers, taken by handlers that ignored their end.
    pub leaked: u32,
    /// Jobs that it holds: queued, running, or with their report under way.
    pub held: usize,
    /// The breakers of its kinds.
    pub breakers: Vec<BreakerInfo>,
    /// Why it has shut down by itself: a part of it panicked.
    pub failure: Option<Arc<str>>,
}

/// A server that runs beside the caller. Dropping it begins the shutdown without waiting for it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::{Client, RawJob, Router, Server};
/// async fn anything(_: RawJob) -> windlass::Result {
///     Ok(())
/// }
/// let client = Client::open("memory:").await?;
/// let server = Server::new(&client, Router::new().at("*", anything)).start().await?;
/// assert!(server.health().claiming);
/// server.quiet(); // what runs goes on, and nothing new is taken
/// server.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the handle shuts the server down"]
pub struct RunningServer {
    core: Arc<Core>,
    ended: JoinHandle<()>,
}

struct Tasks {
    slots: Vec<JoinHandle<()>>,
    loops: Vec<JoinHandle<()>>,
    reporting: Vec<JoinHandle<()>>,
}

impl RunningServer {
    fn new(core: Arc<Core>, tasks: Tasks) -> Self {
        // A task of its own, so that the handle may be dropped anywhere, outside of the runtime too.
        let with_runtime = EndsWithRuntime(core.clone());
        let ended = core.env.spawn(async move { end(&with_runtime.0, tasks).await });
        Self { core, ended }
    }

    /// The server's id.
    pub fn id(&self) -> ServerId {
        self.core.id
    }

    /// How it is.
    pub fn health(&self) -> Health {
        health(&self.core)
    }

    /// A view of it for others: an endpoint that answers while it runs, shuts down and has ended.
    pub fn monitor(&self) -> Monitor {
        Monitor(self.core.clone())
    }

    /// Why the store refuses to give jobs although it can be reached: it is damaged, say. The server goes on asking;
    /// whoever waits for the end of its work may stop waiting. None as soon as a claim is answered.
    pub fn refusal(&self) -> Option<StoreError> {
        self.core.refusal()
    }

    /// Whether it would ever see to a job like this: run it, or make one of the group that it waits in.
    pub(crate) fn serves(&self, job: &JobSpec) -> bool {
        let core = &self.core;
        let taken_from = core.queues.iter().any(|(queue, _)| *queue == job.queue);
        taken_from
            && match &job.group {
                Some(group) => Pattern::best(&core.config.groups, group).is_some(),
                None => core.config.kinds.rule_for(job.kind.as_str()).is_some(),
            }
    }

    /// How many jobs in the store it has still to see to.
    pub(crate) async fn outstanding(&self) -> Result<u64, StoreError> {
        let (core, config) = (&self.core, &self.core.config);
        let queues: Vec<_> = core.queues.iter().map(|(queue, _)| queue.clone()).collect();
        core.store().outstanding(&queues, &config.kinds, &config.groups).await
    }

    /// Resolves when the server has to shut down by itself, since a part of it panicked, and says which: a fault of
    /// windlass, or of a subscriber to its log. Jobs are safe; end the process, so that whoever watches it starts another.
    pub async fn failed(&self) -> Arc<str> {
        self.core.reached(Life::Stopping).await;
        match self.core.failure() {
            Some(problem) => problem,
            None => std::future::pending().await,
        }
    }

    /// Claims no more; what it has goes on.
    pub fn quiet(&self) {
        self.core.enter(Life::Quiet);
    }

    /// Shuts down: claims no more, gives back what has not started, waits for what runs up to the shutdown timeout,
    /// then stops it and gives it back, and returns when every report is in (or the store stays away for five
    /// seconds: those jobs are rescued elsewhere when their leases lapse).
    pub async fn shutdown(mut self) {
        self.core.enter(Life::Stopping);
        // It fails only when the runtime ends meanwhile.
        let _ = (&mut self.ended).await;
    }
}

/// Tells how a server is, without holding it up or keeping it alive. Cheap to clone.
#[derive(Clone)]
pub struct Monitor(Arc<Core>);

impl Monitor {
    /// How it is.
    pub fn health(&self) -> Health {
        health(&self.0)
    }
}

fn health(core: &Core) -> Health {
    Health {
        store_up: core.store_up.load(Ordering::Relaxed) && core.refusal().is_none(),
        claiming: core.life() == Life::Running,
        slots: core.config.slots,
        busy: core.queue.busy(),
        leaked: core.leaked(),
        held: core.held.len(),
        breakers: core.breakers(),
        failure: core.failure(),
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Monitor({}, {:?})", self.0.id, self.health())
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.core.enter(Life::Stopping);
    }
}

/// A runtime that is dropped drops its tasks, but waits for the keeper's thread: so the keeper has to hear of it.
struct EndsWithRuntime(Arc<Core>);

impl Drop for EndsWithRuntime {
    fn drop(&mut self) {
        self.0.enter(Life::Ended);
    }
}

impl std::fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunningServer({}, {:?})", self.core.id, self.health())
    }
}

/// How long a shutdown waits for a store that is away.
const LAST_REPORTS: Duration = Duration::from_secs(5);

/// Waits for the shutdown to begin, and sees it through.
async fn end(core: &Core, tasks: Tasks) {
    core.reached(Life::Stopping).await;
    within(core, LAST_REPORTS, join(tasks.loops)).await;
    core.queue.take_all().into_iter().for_each(|run| core.release(run));
    let slots = join(tasks.slots);
    tokio::pin!(slots);
    if !within(core, core.config.shutdown_timeout, &mut slots).await {
        let grace = core.config.grace.min(Duration::from_secs(2));
        core.stop_all(&StopCause::Shutdown, grace);
        // Longer than the keeper takes to find a handler that ignores its end.
        within(core, grace + Duration::from_secs(2), &mut slots).await;
    }
    let reported = async {
        while !core.held.is_empty() {
            core.env.sleep(Duration::from_millis(5)).await;
        }
    };
    within(core, LAST_REPORTS, reported).await;
    core.enter(Life::Ended);
    within(core, LAST_REPORTS, async {
        join(tasks.reporting).await;
        let _ = core.store().leave(core.id).await;
    })
    .await;
}

/// Waits for it at most this long: a store that never answers must not keep the process from its end.
async fn within(core: &Core, limit: Duration, task: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = task => true,
        () = core.env.sleep(limit) => false,
    }
}

/// Resolves at SIGTERM or SIGINT (elsewhere: Ctrl-C). After that a second one ends the process at once.
///
/// ```no_run
/// # async fn example(server: windlass::RunningServer) {
/// windlass::shutdown_signal().await;
/// server.shutdown().await;
/// # }
/// ```
pub async fn shutdown_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            tracing::error!("signal handlers cannot be installed; end the process another way");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::warn!("second signal: ending at once; running jobs are rescued elsewhere");
            std::process::exit(130);
        });
    }
    #[cfg(not(unix))]
    std::future::pending::<()>().await;
}
