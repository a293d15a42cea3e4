//! Keeps what the server holds: renews leases, reads the cancel log, gives signs of life, and finds handlers that
//! ignore their end. On a thread of its own, so that handlers that hog the runtime do not cost leases.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tracing::{debug, warn};

use super::{
    core::{Core, Life},
    executor::failed,
    run::{Phase, Run, StopCause},
};
use crate::{
    decide::verdict::Ran,
    job::{ErrorClass, Lease, Monotonic},
    store::ExtendRequest,
};

/// How often a server that runs something reads the cancel log.
const CANCEL_POLL: Duration = Duration::from_millis(500);
/// How often an idle keeper looks whether there is something to keep.
const IDLE_POLL: Duration = Duration::from_secs(1);
/// How often a server says that it lives.
const BEAT: Duration = Duration::from_secs(5);

pub(crate) async fn run(core: Arc<Core>, cancel_log: u64) {
    let now = core.env.monotonic();
    let mut keeper = Keeper { last_extend: now, next_extend: now, next_beat: now, cancel_log, core };
    loop {
        let wait = keeper.turn().await;
        if keeper.core.sleep_until(Life::Ended, wait).await {
            return;
        }
    }
}

struct Keeper {
    core: Arc<Core>,
    last_extend: Monotonic,
    next_extend: Monotonic,
    next_beat: Monotonic,
    cancel_log: u64,
}

impl Keeper {
    /// One round; answers how long until the next.
    async fn turn(&mut self) -> Duration {
        let now = self.core.env.monotonic();
        if now >= self.next_beat {
            self.next_beat = now.after(BEAT);
            if let Err(error) = self.core.store().beat(&self.core.info()).await {
                debug!(%error, "no sign of life: the store is away");
            }
        }
        let pace = CANCEL_POLL.min(self.core.config.lease / 6);
        if self.core.held.is_empty() {
            self.next_extend = now.after(self.core.config.lease / 3);
            self.last_extend = now;
            return IDLE_POLL.min(self.core.config.lease / 6);
        }
        if now >= self.next_extend {
            self.extend(now).await;
        }
        self.read_cancel_log().await;
        self.find_leaks();
        pace
    }

    async fn extend(&mut self, now: Monotonic) {
        let core = &self.core;
        let lease = core.config.lease;
        let runs = core.held.runs();
        let leases: Vec<Lease> = runs.iter().map(|run| run.claimed.lease()).collect();
        let ran_late = now.since(self.last_extend) > lease / 2;
        self.last_extend = now;
        let request = ExtendRequest { server: core.id, leases, lease, ran_late };
        match core.store().extend(&request).await {
            Ok(lost) => {
                core.store_up.store(true, Ordering::Relaxed);
                let kept: Vec<Lease> = request.leases.into_iter().filter(|lease| !lost.contains(lease)).collect();
                core.held.extended(&kept, now.after(lease));
                lost.iter().for_each(|lease| core.lost(lease));
                self.next_extend = now.after(lease / 3);
            }
            Err(error) => {
                core.store_up.store(false, Ordering::Relaxed);
                warn!(%error, leases = runs.len(), "leases could not be renewed; trying again in a second");
                self.next_extend = now.after((lease / 6).min(Duration::from_secs(1)));
            }
        }
    }

    async fn read_cancel_log(&mut self) {
        match self.core.store().cancelled(Some(self.cancel_log)).await {
            Ok(log) => {
                self.cancel_log = log.last;
                for wish in log.wishes {
                    if let Some(run) = self.core.held.find(&wish.lease) {
                        let now = self.core.env.monotonic();
                        run.stop(StopCause::Cancelled(wish.reason), now, self.core.config.grace);
                    }
                }
            }
            Err(error) => debug!(%error, "the cancel log could not be read"),
        }
    }

    /// A handler that goes on a second after the end of its grace never yields: its report is made without it, and its
    /// slot is leaked until it comes back.
    fn find_leaks(&self) {
        let now = self.core.env.monotonic();
        for run in self.core.held.runs() {
            let over = now > run.leaked_at().after(Duration::from_secs(1));
            if over && run.phase() == Phase::Started && run.advance(Phase::Started, Phase::Leaked) {
                self.core.leaked.fetch_add(1, Ordering::AcqRel);
                warn!(job.id = %run.claimed.spec.id, job.kind = %run.claimed.spec.kind,
                    "the handler ignores its end; its slot is leaked");
                let ran = leaked(&run);
                self.core.report(run, ran);
            }
        }
    }
}

/// What is reported of a run whose handler ignores its end.
fn leaked(run: &Run) -> Ran {
    match run.stop_cause() {
        Some(StopCause::Cancelled(reason)) => Ran::Cancelled(reason),
        Some(StopCause::Shutdown) => Ran::Interrupted,
        Some(StopCause::Deadline) => failed(ErrorClass::Deadline, "its deadline passed while it ran".into()),
        _ => failed(ErrorClass::Timeout, format!("ran longer than its timeout of {:?} and ignores it", run.timeout)),
    }
}

impl Core {
    /// Another run of the job counts now.
    fn lost(&self, lease: &Lease) {
        let Some(run) = self.held.find(lease) else { return };
        run.stop(StopCause::LeaseLost, self.env.monotonic(), self.config.grace);
        match run.phase() {
            Phase::Queued => self.drop_lost(&run, Phase::Queued),
            // It is told once its handler has ended; the store refuses a report that is under way.
            Phase::Started => warn!(job.id = %run.claimed.spec.id, "lease lost while the job runs; it is told to stop"),
            Phase::Ended | Phase::Leaked => {}
        }
    }
}
