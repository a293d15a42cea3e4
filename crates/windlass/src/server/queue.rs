//! The few claimed jobs that wait for a slot, and the slots that wait for a job.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::run::Run;
use crate::job::Monotonic;

#[derive(Default)]
pub(crate) struct RunQueue {
    waiting: Mutex<VecDeque<Arc<Run>>>,
    /// A job is there for a slot.
    job: Notify,
    /// A slot has taken a job or become free: the dispatcher may look again.
    pub(crate) room: Notify,
}

impl RunQueue {
    pub(crate) fn push_all(&self, runs: Vec<Arc<Run>>, free_slots: usize) {
        let wake = runs.len().min(free_slots);
        self.waiting.lock().extend(runs);
        (0..wake).for_each(|_| self.job.notify_one());
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    pub(crate) fn try_pop(&self) -> Option<Arc<Run>> {
        self.waiting.lock().pop_front()
    }

    /// The next job, as soon as there is one.
    pub(crate) async fn pop(&self) -> Arc<Run> {
        loop {
            if let Some(run) = self.try_pop() {
                return run;
            }
            let notified = self.job.notified();
            tokio::pin!(notified);
            // Line up before the last look, or a job that comes in between would wait for the next one.
            notified.as_mut().enable();
            if let Some(run) = self.try_pop() {
                return run;
            }
            notified.await;
        }
    }

    pub(crate) fn take_all(&self) -> Vec<Arc<Run>> {
        self.waiting.lock().drain(..).collect()
    }

    /// Those that were claimed before `claimed_before` and have not started.
    pub(crate) fn take_overdue(&self, claimed_before: Monotonic) -> Vec<Arc<Run>> {
        let mut waiting = self.waiting.lock();
        let overdue = waiting.iter().take_while(|run| run.claimed_at < claimed_before).count();
        waiting.drain(..overdue).collect()
    }
}
