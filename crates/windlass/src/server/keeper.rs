//! Keeps what the server holds: renews leases, reads the cancel log, gives signs of life, and finds handlers that
//! ignore their end. On a thread of its own, so that handlers that hog the runtime do not cost leases.

use std::{
    collections::VecDeque,
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
    store::{CancelWish, ExtendRequest},
};

/// How often a server that runs something reads the cancel log.
const CANCEL_POLL: Duration = Duration::from_millis(500);
/// How often an idle keeper looks whether there is something to keep.
const IDLE_POLL: Duration = Duration::from_secs(1);
/// How often a server says that it lives.
const BEAT: Duration = Duration::from_secs(5);

pub(crate) async fn run(core: Arc<Core>, cancel_log: u64) {
    let now = core.env.monotonic();
    let early = VecDeque::new();
    let mut keeper = Keeper {
        last_extend: now,
        next_extend: now,
        next_beat: now,
        quiet: false,
        cancel_log,
        early,
        core: core.clone(),
    };
    loop {
        let wait = tokio::select! {
            biased;
            wait = keeper.turn() => wait,
            // A store that never answers must not keep the process from its end.
            () = ended_for(&core, Duration::from_secs(1)) => return,
        };
        let news = if keeper.quiet { Life::Ended } else { Life::Quiet };
        if core.sleep_until(news, wait).await && core.life() == Life::Ended {
            return;
        }
    }
}

async fn ended_for(core: &Core, time: Duration) {
    core.reached(Life::Ended).await;
    core.env.sleep(time).await;
}

struct Keeper {
    core: Arc<Core>,
    last_extend: Monotonic,
    next_extend: Monotonic,
    next_beat: Monotonic,
    /// Whether the last sign of life said that it is.
    quiet: bool,
    cancel_log: u64,
    /// Wishes that are about no run of ours, with the time of their reading. The reply to a claim may still be under
    /// way, so they are kept for a while.
    early: VecDeque<(Monotonic, CancelWish)>,
}

/// How many wishes are kept for runs to come.
const MAX_EARLY: usize = 4096;

impl Keeper {
    /// One round; answers how long until the next.
    async fn turn(&mut self) -> Duration {
        let (now, quiet) = (self.core.env.monotonic(), self.core.life() >= Life::Quiet);
        // A server that has stopped claiming is news for whoever looks at it.
        if now >= self.next_beat || quiet != self.quiet || self.core.guards.take_news() {
            self.quiet = quiet;
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
        self.grant_wishes();
        if self.find_leaks() {
            // A slot less is news for whoever looks at this server.
            self.next_beat = now;
        }
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
                let now = self.core.env.monotonic();
                self.early.extend(log.wishes.into_iter().map(|wish| (now, wish)));
            }
            Err(error) => debug!(%error, "the cancel log could not be read"),
        }
    }

    /// Tells the runs that somebody wants to be cancelled.
    fn grant_wishes(&mut self) {
        let (core, now) = (&self.core, self.core.env.monotonic());
        self.early.retain(|(read_at, wish)| match core.held.find(&wish.lease) {
            Some(run) => {
                run.stop(StopCause::Cancelled(wish.reason.clone()), now, core.config.grace);
                false
            }
            None => now.since(*read_at) < core.config.lease,
        });
        let surplus = self.early.len().saturating_sub(MAX_EARLY);
        self.early.drain(..surplus);
    }

    /// A handler that does not yield does not see its timer: it is told here, so that it may ask. One that goes on a
    /// second after the end of its grace never yields: its report is made without it, and its slot is leaked until it
    /// comes back. Answers whether there was one.
    fn find_leaks(&self) -> bool {
        let now = self.core.env.monotonic();
        let mut found = false;
        for run in self.core.held.runs() {
            if now > run.ends_at() && run.phase() == Phase::Started {
                run.time_is_over(now, self.core.config.grace);
            }
            let over = now > run.leaked_at().after(Duration::from_secs(1));
            if over && run.phase() == Phase::Started && run.advance(Phase::Started, Phase::Leaked) {
                self.core.leaked.fetch_add(1, Ordering::AcqRel);
                warn!(job.id = %run.claimed.spec.id, job.kind = %run.claimed.spec.kind,
                    "the handler ignores its end; its slot is leaked");
                let ran = leaked(&run);
                self.core.report(run, ran);
                found = true;
            }
        }
        found
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
        let first = run.stop(StopCause::LeaseLost, self.env.monotonic(), self.config.grace);
        match run.phase() {
            Phase::Queued => self.drop_lost(&run, Phase::Queued),
            // It is told once its handler has ended; the store refuses a report that is under way.
            Phase::Started if first => {
                warn!(job.id = %run.claimed.spec.id, "lease lost while the job runs; it is told to stop");
            }
            Phase::Started | Phase::Ended | Phase::Leaked => {}
        }
    }
}
