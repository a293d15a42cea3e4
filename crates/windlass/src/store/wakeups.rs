//! Hints between those who put jobs in line and those who wait for them: a counter, not a lazy future.
//! Note the counter, look, then wait for a change; so a job that comes in between is not missed.

//!
//! No `tokio::sync::watch`: it spreads its receivers over several lists by chance, so the same simulation would wake
//! them in another order each time; and one list costs less to wake.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared {
    counter: AtomicU64,
    changed: Notify,
}

/// The sending side, held by a store.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<Shared>);

impl Waker {
    /// A counter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something may have changed.
    pub fn wake(&self) {
        self.0.counter.fetch_add(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }

    /// A handle for one who waits.
    pub fn subscribe(&self) -> WakeUps {
        WakeUps { shared: self.0.clone(), seen: self.0.counter.load(Ordering::Acquire) }
    }
}

/// The waiting side.
#[derive(Clone, Debug)]
pub struct WakeUps {
    shared: Arc<Shared>,
    seen: u64,
}

impl WakeUps {
    /// Notes the counter: changes from here on end the next [`changed`](WakeUps::changed).
    pub fn mark_seen(&mut self) {
        self.seen = self.shared.counter.load(Ordering::Acquire);
    }

    /// Waits for a change since the counter was last noted, and notes it. Never resolves once the store is gone.
    pub async fn changed(&mut self) {
        loop {
            let notified = self.shared.changed.notified();
            tokio::pin!(notified);
            // Line up before the look, or a change in between would be missed.
            notified.as_mut().enable();
            let counter = self.shared.counter.load(Ordering::Acquire);
            if counter != self.seen {
                self.seen = counter;
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_noting_and_waiting_is_not_missed() {
        let waker = Waker::new();
        let mut wakeups = waker.subscribe();
        wakeups.mark_seen();
        waker.wake();
        wakeups.changed().await;
    }
}
