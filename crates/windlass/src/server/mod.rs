//! The runtime that claims and runs jobs. `builder.rs` sets it up; `core.rs` says what its parts are.

mod builder;
pub(crate) mod context;
pub(crate) mod core;
mod dispatcher;
pub(crate) mod events;
mod executor;
mod finisher;
pub(crate) mod handler;
mod held;
mod keeper;
pub(crate) mod outcome;
mod queue;
pub(crate) mod router;
pub(crate) mod run;

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
use crate::job::ServerId;

/// How a running server is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether the store answered last time.
    pub store_up: bool,
    /// Whether it still claims jobs.
    pub claiming: bool,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How many run now.
    pub busy: u32,
    /// Slots taken by handlers that ignored their end.
    pub leaked: u32,
    /// Jobs that it holds: queued, running, or with their report under way.
    pub held: usize,
}

/// A server that runs beside the caller. Dropping it begins the shutdown without waiting for it.
#[must_use = "dropping the handle shuts the server down"]
pub struct RunningServer {
    core: Arc<Core>,
    tasks: Option<Tasks>,
}

struct Tasks {
    slots: Vec<JoinHandle<()>>,
    loops: Vec<JoinHandle<()>>,
    reporting: Vec<JoinHandle<()>>,
}

impl RunningServer {
    fn new(
        core: Arc<Core>,
        slots: Vec<JoinHandle<()>>,
        loops: Vec<JoinHandle<()>>,
        reporting: Vec<JoinHandle<()>>,
    ) -> Self {
        Self { core, tasks: Some(Tasks { slots, loops, reporting }) }
    }

    /// The server's id.
    pub fn id(&self) -> ServerId {
        self.core.id
    }

    /// How it is.
    pub fn health(&self) -> Health {
        let core = &self.core;
        Health {
            store_up: core.store_up.load(Ordering::Relaxed),
            claiming: core.life() == Life::Running,
            slots: core.config.slots,
            busy: core.busy.load(Ordering::Relaxed),
            leaked: core.leaked.load(Ordering::Relaxed),
            held: core.held.len(),
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
        if let Some(tasks) = self.tasks.take() {
            shutdown(self.core.clone(), tasks).await;
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.take() {
            let core = self.core.clone();
            core.enter(Life::Stopping);
            if tokio::runtime::Handle::try_current().is_ok() {
                self.core.env.spawn(shutdown(core, tasks));
            }
        }
    }
}

impl std::fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunningServer({}, {:?})", self.core.id, self.health())
    }
}

/// How long a shutdown waits for a store that is away.
const LAST_REPORTS: Duration = Duration::from_secs(5);

async fn shutdown(core: Arc<Core>, tasks: Tasks) {
    core.enter(Life::Stopping);
    join(tasks.loops).await;
    core.queue.take_all().into_iter().for_each(|run| core.release(run));
    core.enter(Life::Ending);
    let slots = join(tasks.slots);
    tokio::pin!(slots);
    let in_time = tokio::select! {
        biased;
        () = &mut slots => true,
        () = core.env.sleep(core.config.shutdown_timeout) => false,
    };
    if !in_time {
        let grace = core.config.grace.min(Duration::from_secs(2));
        core.stop_all(&StopCause::Shutdown, grace);
        tokio::select! {
            biased;
            () = &mut slots => {}
            // Longer than the keeper takes to find a handler that ignores its end.
            () = core.env.sleep(grace + Duration::from_secs(2)) => {}
        }
    }
    let waiting_since = core.env.monotonic();
    while !core.held.is_empty() && core.env.monotonic().since(waiting_since) < LAST_REPORTS {
        core.env.sleep(Duration::from_millis(5)).await;
    }
    core.enter(Life::Ended);
    join(tasks.reporting).await;
    let _ = core.store().leave(core.id).await;
}

/// Resolves at SIGTERM or SIGINT (elsewhere: Ctrl-C). After that a second one ends the process at once.
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
