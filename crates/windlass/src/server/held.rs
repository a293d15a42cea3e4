//! The jobs that a server holds: from the reply to a claim until the store has taken the report.
//! Kept by claim, so that a job costs no entry of its own and a heartbeat walks few of them.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::run::Run;
use crate::job::{Fence, Lease, Monotonic};

#[derive(Default)]
pub(crate) struct Held(Mutex<FxHashMap<Fence, Batch>>);

struct Batch {
    /// By our own clock, counted from before the request was sent: until here the jobs are surely ours.
    until: Monotonic,
    runs: Vec<Arc<Run>>,
    live: usize,
}

impl Held {
    /// The jobs of one claim. Most stores give one fence to them all; one whose queues are apart gives one a queue.
    pub(crate) fn add(&self, mut runs: Vec<Arc<Run>>, until: Monotonic) {
        let mut held = self.0.lock();
        while let Some(first) = runs.first() {
            let fence = first.claimed.fence;
            let others = match runs.iter().all(|run| run.claimed.fence == fence) {
                true => Vec::new(),
                false => runs.extract_if(.., |run| run.claimed.fence != fence).collect(),
            };
            let batch = held.entry(fence).or_insert_with(|| Batch { until, runs: Vec::new(), live: 0 });
            batch.until = batch.until.min(until);
            batch.live += runs.len();
            if batch.runs.is_empty() {
                batch.runs = runs;
            } else {
                batch.runs.extend(runs);
            }
            runs = others;
        }
    }

    /// The store has answered for these runs: they are held no longer.
    pub(crate) fn settle<'a>(&self, runs: impl IntoIterator<Item = &'a Arc<Run>>) {
        let mut held = self.0.lock();
        for run in runs {
            let fence = run.claimed.fence;
            if run.settle_once()
                && let Some(batch) = held.get_mut(&fence)
            {
                batch.live -= 1;
                if batch.live == 0 {
                    held.remove(&fence);
                } else if batch.live * 2 <= batch.runs.len() {
                    // One long run must not keep the payloads of its whole claim.
                    batch.runs.retain(|run| !run.is_settled());
                }
            }
        }
    }

    /// All runs that are held.
    pub(crate) fn runs(&self) -> Vec<Arc<Run>> {
        let held = self.0.lock();
        held.values().flat_map(|batch| &batch.runs).filter(|run| !run.is_settled()).cloned().collect()
    }

    pub(crate) fn find(&self, lease: &Lease) -> Option<Arc<Run>> {
        let held = self.0.lock();
        let runs = &held.get(&lease.fence)?.runs;
        runs.iter().find(|run| run.claimed.spec.id == lease.id && !run.is_settled()).cloned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().values().map(|batch| batch.live).sum()
    }

    /// The leases that were asked to be renewed are ours until then.
    pub(crate) fn extended(&self, leases: &[Lease], until: Monotonic) {
        let mut held = self.0.lock();
        for lease in leases {
            if let Some(batch) = held.get_mut(&lease.fence) {
                batch.until = batch.until.max(until);
            }
        }
    }

    /// Whether the run is surely ours still, by our own clock.
    pub(crate) fn is_fresh(&self, run: &Run, now: Monotonic) -> bool {
        self.0.lock().get(&run.claimed.fence).is_some_and(|batch| now < batch.until)
    }
}
