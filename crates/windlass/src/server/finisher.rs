//! Reports outcomes to the store. Natural batching: one report is under way, and the next carries all that gathered
//! meanwhile. A report is tried until the store answers; while it is not in, the lease is renewed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{error, warn};

use super::{
    core::{Core, Life},
    events::EventKind,
    run::{Run, StopCause},
};
use crate::{
    job::{JobId, JobRecord, State, Verdict},
    store::{Finish, Finished, StoreError},
};

/// The most reports that travel together.
const BATCH: usize = 512;
/// The most bytes of what jobs bring that travel together, so that a store takes a batch well within the time of a call. A
/// report that brings more goes alone.
const BATCH_BYTES: usize = 8 << 20;

/// Outcomes on their way.
#[derive(Default)]
pub(crate) struct Reports {
    waiting: Mutex<Vec<(Arc<Run>, Finish)>>,
    filled: Notify,
    /// The batch under way has been taken.
    pub(crate) emptied: Notify,
}

impl Reports {
    pub(crate) fn push(&self, run: Arc<Run>, finish: Finish) {
        let mut waiting = self.waiting.lock();
        waiting.push((run, finish));
        // Only the first one has to wake the finisher.
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    fn take(&self) -> Vec<(Arc<Run>, Finish)> {
        let mut waiting = self.waiting.lock();
        let together = fitting(waiting.iter().map(|(_, finish)| bytes(finish)));
        let rest = waiting.split_off(together);
        std::mem::replace(&mut *waiting, rest)
    }
}

/// How many of the first reports travel together, by the bytes of each.
fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let sums = sizes.take(BATCH).scan(0_usize, |sum, size| {
        *sum = sum.saturating_add(size);
        Some(*sum)
    });
    sums.enumerate().take_while(|&(before, sum)| before == 0 || sum <= BATCH_BYTES).count()
}

/// How large what a report brings is: a result, checkpoints and lines, and the jobs that follow.
fn bytes(finish: &Finish) -> usize {
    let result = finish.result.as_ref().map_or(0, |result| result.len());
    let said = finish.news.iter().map(|news| {
        let checkpoint = news.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.len());
        checkpoint + news.lines.iter().map(|line| line.text.len()).sum::<usize>()
    });
    let then = finish.then.iter().map(|job| job.spec.payload.len());
    result + said.sum::<usize>() + then.sum::<usize>()
}

/// Reports until the server has ended.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let batch = core.reports.take();
        if !batch.is_empty() {
            core.note_pace(&batch);
            core.deliver(batch, false).await;
            core.reports.emptied.notify_one();
            continue;
        }
        tokio::select! {
            biased;
            () = core.reports.filled.notified() => {}
            () = core.reached(Life::Ended) => return,
        }
    }
}

impl Core {
    /// What was given back says nothing about how long it would have run.
    fn note_pace(&self, batch: &[(Arc<Run>, Finish)]) {
        let mut pace = self.pace.lock();
        let ran = batch.iter().filter(|(_, finish)| finish.verdict != Verdict::Release);
        pace.note(ran.map(|(run, finish)| (&run.claimed.spec.kind, finish.ran)));
    }

    /// Tries until the store answers. A report that the store refuses for good is tried alone, and then as a plain
    /// failure without what it could not take, so that one bad job fails nobody else's report.
    /// `repeated`: a report may have been applied before.
    async fn deliver(&self, batch: Vec<(Arc<Run>, Finish)>, mut repeated: bool) {
        let (runs, mut finishes): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let mut wait = Duration::from_millis(50);
        loop {
            match self.store().finish(finishes.clone()).await {
                Ok(mut answers) => {
                    self.store_up.store(true, Ordering::Relaxed);
                    if repeated {
                        self.recognise(&runs, &finishes, &mut answers).await;
                    }
                    return self.delivered(&runs, &finishes, &answers);
                }
                Err(error) if error.is_retryable() => {
                    self.store_up.store(false, Ordering::Relaxed);
                    warn!(%error, reports = runs.len(), "the store is away; reports wait");
                    // Reports of leases that were lost meanwhile are still sent: the store refuses them.
                    if self.sleep_until(Life::Ended, self.env.jittered(wait)).await {
                        warn!(reports = runs.len(), "the server ends while the store is away; these jobs run again");
                        return;
                    }
                    wait = (wait * 2).min(Duration::from_secs(1));
                    repeated = true;
                }
                Err(error) if runs.len() > 1 => {
                    warn!(%error, "the store refused a batch of reports; each goes alone");
                    for (run, finish) in runs.into_iter().zip(finishes) {
                        Box::pin(self.deliver(vec![(run, finish)], true)).await;
                    }
                    return;
                }
                Err(error) => match plainer(&finishes[0], &error) {
                    Some(plain) => finishes = vec![plain],
                    None => {
                        error!(%error, job.id = %runs[0].claimed.spec.id,
                            "the store refuses this report for good; the job runs again once its lease has lapsed");
                        return self.held.settle(&runs);
                    }
                },
            }
        }
    }

    /// A report that was applied while its reply was lost is refused when it is repeated. The job tells whether it was
    /// this one: a rescue would have counted a crash, and another claim would have brought another fence.
    async fn recognise(&self, runs: &[Arc<Run>], finishes: &[Finish], answers: &mut [Finished]) {
        for ((run, finish), answer) in runs.iter().zip(finishes).zip(answers) {
            if *answer != Finished::Stale {
                continue;
            }
            let claimed = &run.claimed;
            match self.look_for(&finish.lease.id).await {
                Ok(Some(job)) if job.fence == Some(claimed.fence) && job.crashes == claimed.crashes => {
                    *answer = Finished::Applied(job.state);
                }
                Ok(None) if finish.verdict == Verdict::Complete && claimed.spec.retention.is_zero() => {
                    *answer = Finished::Applied(State::Completed);
                }
                _ => {}
            }
        }
    }

    /// Tries until the store answers, as the report did.
    async fn look_for(&self, id: &JobId) -> Result<Option<JobRecord>, StoreError> {
        let wait = Duration::from_millis(50);
        loop {
            match self.store().get(id).await {
                Err(error) if error.is_retryable() && !self.sleep_until(Life::Ended, self.env.jittered(wait)).await => {
                }
                answer => return answer,
            }
        }
    }

    fn delivered(&self, runs: &[Arc<Run>], finishes: &[Finish], answers: &[Finished]) {
        self.held.settle(runs);
        let now = self.env.wall();
        for ((run, finish), answer) in runs.iter().zip(finishes).zip(answers) {
            match answer {
                Finished::Applied(state) if finish.verdict == Verdict::Release && *state == State::Pending => {
                    self.tell_at(now, EventKind::Released, &run.claimed, Some(*state));
                }
                Finished::Applied(state) => self.tell_at(now, EventKind::Finished, &run.claimed, Some(*state)),
                Finished::Stale => {
                    run.stop(StopCause::LeaseLost, self.env.monotonic(), self.config.grace);
                    warn!(job.id = %run.claimed.spec.id, job.kind = %run.claimed.spec.kind,
                        "lease lost; the outcome of this run is dropped");
                    self.tell_at(now, EventKind::Stale, &run.claimed, None);
                }
            }
        }
    }
}

/// The same report without the parts that a store may refuse: result, follow-ups, message, what the run said.
fn plainer(finish: &Finish, error: &StoreError) -> Option<Finish> {
    let plain = finish.then.is_empty() && finish.result.is_none() && finish.error.is_none() && finish.news.is_empty();
    (!plain && !matches!(error, StoreError::Corrupt(_))).then(|| Finish {
        then: Vec::new(),
        result: None,
        error: None,
        news: Vec::new(),
        verdict: match &finish.verdict {
            // Its result or its follow-ups could not be kept, so it has not ended well.
            Verdict::Complete => Verdict::RetryIn(Duration::from_secs(60)),
            other => other.clone(),
        },
        ..finish.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_travel_together_until_they_are_many_or_large_and_one_always_does() {
        let fitting = |sizes: &[usize]| super::fitting(sizes.iter().copied());
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&[0; BATCH + 1]), BATCH);
        assert_eq!(fitting(&[BATCH_BYTES / 2, BATCH_BYTES / 2, 1]), 2);
        assert_eq!(fitting(&[BATCH_BYTES + 1, 0]), 1);
        assert_eq!(fitting(&[1, BATCH_BYTES, 1]), 1);
        assert_eq!(fitting(&[usize::MAX, usize::MAX]), 1);
    }
}
