//! Hints between those who put jobs in line and those who wait for them: a counter, not a lazy future.
//! Note the counter, look, then wait for a change; so a job that comes in between is not missed.

use std::sync::Arc;

use tokio::sync::watch;

/// The sending side, held by a store.
#[derive(Clone, Debug)]
pub struct Waker(Arc<watch::Sender<u64>>);

impl Waker {
    /// A counter at zero.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Something may have changed.
    pub fn wake(&self) {
        self.0.send_modify(|counter| *counter = counter.wrapping_add(1));
    }

    /// A handle for one who waits.
    pub fn subscribe(&self) -> WakeUps {
        WakeUps(self.0.subscribe())
    }
}

impl Default for Waker {
    fn default() -> Self {
        Self::new()
    }
}

/// The waiting side.
#[derive(Clone, Debug)]
pub struct WakeUps(watch::Receiver<u64>);

impl WakeUps {
    /// Notes the counter: changes from here on end the next [`changed`](WakeUps::changed).
    pub fn mark_seen(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for a change since the counter was last noted, and notes it. Never resolves once the store is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
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
