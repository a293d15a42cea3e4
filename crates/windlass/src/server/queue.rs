//! The few claimed jobs that wait for a slot, and the slots that wait for a job.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::run::Run;
use crate::job::Monotonic;

#[derive(Default)]
pub(crate) struct RunQueue {
    waiting: Mutex<VecDeque<Arc<Run>>>,
    /// Slots that have taken a job and are not done with it. Rises under the lock, so that a job on its way from the
    /// line to its slot is not overlooked.
    busy: AtomicU32,
    /// A job is there for a slot.
    job: Notify,
    /// A slot has taken a job or become free: the dispatcher may look again.
    pub(crate) room: Notify,
}

impl RunQueue {
    pub(crate) fn push_all(&self, runs: Vec<Arc<Run>>, slots: u32) {
        let mut waiting = self.waiting.lock();
        waiting.extend(runs);
        let wake = waiting.len().min(slots.saturating_sub(self.busy()) as usize);
        drop(waiting);
        (0..wake).for_each(|_| self.job.notify_one());
    }

    /// When the first in line was claimed.
    pub(crate) fn oldest(&self) -> Option<Monotonic> {
        self.waiting.lock().front().map(|run| run.claimed_at)
    }

    /// Slots that have a job.
    pub(crate) fn busy(&self) -> u32 {
        self.busy.load(Ordering::Acquire)
    }

    /// Jobs that wait for a slot or have one.
    pub(crate) fn taken(&self) -> u32 {
        let waiting = self.waiting.lock();
        self.busy().saturating_add(waiting.len() as u32)
    }

    /// The next job. The slot says [`done`](Self::done) afterwards.
    pub(crate) fn try_pop(&self) -> Option<Arc<Run>> {
        let mut waiting = self.waiting.lock();
        let run = waiting.pop_front()?;
        self.busy.fetch_add(1, Ordering::AcqRel);
        Some(run)
    }

    /// A slot is done with its job.
    pub(crate) fn done(&self) {
        self.busy.fetch_sub(1, Ordering::AcqRel);
        self.room.notify_one();
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

    /// Those that were claimed at `claimed_before` or earlier and have not started.
    pub(crate) fn take_overdue(&self, claimed_before: Monotonic) -> Vec<Arc<Run>> {
        let mut waiting = self.waiting.lock();
        let overdue = waiting.iter().take_while(|run| run.claimed_at <= claimed_before).count();
        waiting.drain(..overdue).collect()
    }
}
