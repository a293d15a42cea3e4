//! Sends what runs say while they go on. Natural batching: one report is under way, and the next carries all that
//! gathered meanwhile. A checkpoint goes at once, since its handler waits for it; progress and log lines wait a moment
//! for company, and what is still here when its run ends goes with the finish.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;

use super::{
    core::{Core, Life},
    run::{Phase, Run, StopCause},
};
use crate::{
    error::Error,
    store::{Report, Reported, StoreError},
};

/// How long progress and log lines wait for company: also how often, at most, they cost a call.
const PACE: Duration = Duration::from_millis(100);
/// The most runs whose news travel together.
const BATCH: usize = 512;

/// The runs that have something to say.
#[derive(Default)]
pub(crate) struct Desk {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    runs: Vec<Arc<Run>>,
    urgent: bool,
}

impl Desk {
    /// A run has something to say.
    pub(crate) fn push(&self, run: Arc<Run>) {
        let mut waiting = self.waiting.lock();
        waiting.runs.push(run);
        let first = waiting.runs.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
    }

    /// Somebody waits for a run's report.
    pub(crate) fn hurry(&self) {
        let before = std::mem::replace(&mut self.waiting.lock().urgent, true);
        if !before {
            self.filled.notify_one();
        }
    }

    /// How long the reporter may wait yet; none: there is nothing to send.
    fn patience(&self) -> Option<Duration> {
        let waiting = self.waiting.lock();
        let patience = if waiting.urgent { Duration::ZERO } else { PACE };
        (!waiting.runs.is_empty()).then_some(patience)
    }

    fn take(&self) -> Vec<Arc<Run>> {
        let mut waiting = self.waiting.lock();
        let rest = waiting.runs.len().min(BATCH);
        let rest = waiting.runs.split_off(rest);
        // Who is in a hurry may be among the rest.
        waiting.urgent &= !rest.is_empty();
        std::mem::replace(&mut waiting.runs, rest)
    }
}

/// Reports until the server has ended.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let filled = core.desk.filled.notified();
        match core.desk.patience() {
            Some(Duration::ZERO) => core.report_news(core.desk.take()).await,
            Some(pace) => tokio::select! {
                biased;
                () = core.reached(Life::Ended) => return,
                () = filled => {}
                () = core.env.sleep(pace) => core.report_news(core.desk.take()).await,
            },
            None => tokio::select! {
                biased;
                () = core.reached(Life::Ended) => return,
                () = filled => {}
            },
        }
    }
}

impl Core {
    /// Tries until the store answers, or nobody is left to report for.
    async fn report_news(&self, runs: Vec<Arc<Run>>) {
        let mut wait = Duration::from_millis(50);
        let mut repeat = false;
        loop {
            let said = runs.iter().flat_map(|run| run.reports(repeat).into_iter().map(move |report| (run, report)));
            let (speakers, reports): (Vec<_>, Vec<_>) = said.unzip();
            if reports.is_empty() {
                return;
            }
            match self.store().report(reports.clone()).await {
                Ok(answers) => {
                    self.store_up.store(true, Ordering::Relaxed);
                    for ((run, report), answer) in speakers.into_iter().zip(&reports).zip(answers) {
                        self.reported(run, report, answer);
                    }
                    return;
                }
                Err(error) if error.is_retryable() => {
                    self.store_up.store(false, Ordering::Relaxed);
                    warn!(%error, reports = reports.len(), "the store is away; what jobs say waits");
                    if self.sleep_until(Life::Ended, self.env.jittered(wait)).await {
                        return;
                    }
                    wait = (wait * 2).min(Duration::from_secs(1));
                    repeat = true;
                }
                Err(error) if runs.len() > 1 => {
                    warn!(%error, "the store refused a batch of what jobs say; each goes alone");
                    for run in runs {
                        Box::pin(self.report_news(vec![run])).await;
                    }
                    return;
                }
                Err(error) => return refused(&runs[0], &reports, &error),
            }
        }
    }

    fn reported(&self, run: &Run, report: &Report, answer: Reported) {
        if answer == Reported::Applied {
            return run.answered(report.news.number, Ok(()));
        }
        run.answered(report.news.number, Err(Error::Stale(report.lease.id.clone())));
        // The run's own finish may have been faster than what it said before; then it carried that. Otherwise another
        // run of the job counts now.
        let goes_on = run.phase() == Phase::Started && !run.is_committed();
        if goes_on && run.stop(StopCause::LeaseLost, self.env.monotonic(), self.config.grace) {
            warn!(job.id = %run.claimed.spec.id, job.kind = %run.claimed.spec.kind,
                "lease lost while the job runs; it is told to stop");
        }
    }
}

/// What the store will never take is dropped, and who waits for it hears why.
fn refused(run: &Run, reports: &[Report], error: &StoreError) {
    warn!(job.id = %run.claimed.spec.id, %error, "the store refuses what the job says; it is dropped");
    let last = reports.iter().map(|report| report.news.number).max().unwrap_or(0);
    run.answered(last, Err(error.clone().into()));
}
