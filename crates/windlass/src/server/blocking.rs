//! The threads of blocking handlers: a seat for each. A run takes its seat before it starts, so no handler waits for a
//! thread while its timeout runs. A handler that ignores its end keeps its seat, and its place under its kind's limit,
//! until it comes back.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    context::JobContext,
    outcome::{JobError, Outcome},
};
use crate::env::{Blocking, Env};

/// What a blocking handler still has to do once its arguments are there.
pub(crate) type Call = Box<dyn FnOnce() -> Outcome + Send>;

pub(crate) struct Seats {
    threads: Arc<dyn Blocking>,
    total: u32,
    free: Arc<Semaphore>,
    by_rule: Arc<[AtomicU32]>,
    leaked: AtomicU32,
}

impl Seats {
    pub(crate) fn new(env: &Env, total: u32, by_rule: Arc<[AtomicU32]>) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(total as usize));
        Arc::new(Self { threads: env.blocking(total), total, free, by_rule, leaked: AtomicU32::new(0) })
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Seats whose handlers ignored their end.
    pub(crate) fn leaked(&self) -> u32 {
        self.leaked.load(Ordering::Acquire)
    }

    /// A seat, as soon as there is one.
    pub(crate) async fn take(self: &Arc<Self>) -> Option<Arc<Seat>> {
        // It is never closed.
        let permit = self.free.clone().acquire_owned().await.ok()?;
        Some(Arc::new(Seat { seats: self.clone(), leaked_from: OnceLock::new(), _permit: permit }))
    }
}

/// The right to one thread.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    /// Set when the run is over and its handler is not: the rule whose room it still takes.
    leaked_from: OnceLock<Option<usize>>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Runs it on the seat's thread. A panic in it goes on here.
    async fn run(self: Arc<Self>, call: Call) -> Outcome {
        let (done, ended) = oneshot::channel();
        let threads = self.seats.threads.clone();
        threads.run(Box::new(move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(call));
            // Left before anybody hears of it, so that whoever hears it finds the seat free.
            drop(self);
            // Nobody waits for a handler that ignored its end.
            let _ = done.send(outcome);
        }));
        match ended.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Outcome::Failed(JobError::from("no thread could be started for a handler that blocks")),
        }
    }

    /// The run is over. Answers whether its handler is still at it; then the seat keeps the rule's room.
    pub(crate) fn leave(self: Arc<Self>, rule: Option<usize>) -> bool {
        // We hold one: if the handler ends at this moment, its seat is given back when ours is dropped.
        if Arc::strong_count(&self) == 1 {
            return false;
        }
        self.seats.leaked.fetch_add(1, Ordering::AcqRel);
        // Only the one who ends the run comes here.
        let _ = self.leaked_from.set(rule);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(rule) = self.leaked_from.get() {
            self.seats.leaked.fetch_sub(1, Ordering::AcqRel);
            if let Some(rule) = rule {
                self.seats.by_rule[*rule].fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// Runs a call on the thread that its run has taken.
pub(crate) async fn on_its_thread(ctx: &JobContext, call: Call) -> Outcome {
    match ctx.0.seat() {
        Some(seat) => seat.run(call).await,
        None => Outcome::Failed(JobError::from("the run is over; a handler cannot be called again")),
    }
}
