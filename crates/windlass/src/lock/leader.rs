//! Leads for as long as a lock is held: campaigns, acts, stops in time, campaigns again.

use std::{future::Future, time::Duration};

use tracing::warn;

use super::{Lock, LockGuard};
use crate::error::Error;

/// How long a candidate waits before it campaigns again when the store is away.
const CAMPAIGN_AGAIN: Duration = Duration::from_secs(1);

/// A candidate for a leadership; see [`Client::leader`](crate::Client::leader). The term is the fence of its lock: it
/// rises with every leader.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use windlass::Client;
/// let client = Client::open("memory:").await?;
/// let leader = client.leader("reports", Duration::from_secs(10));
/// // Ends when the work does; until then it is led by one process at a time.
/// let done = leader.while_leading(|term| async move { format!("term {term} is over") }).await?;
/// assert!(done.starts_with("term "));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nobody leads until somebody campaigns"]
pub struct Leader {
    lock: Lock,
}

impl Leader {
    pub(super) fn new(lock: Lock) -> Self {
        Self { lock }
    }

    /// Waits to lead, for as long as it takes. Who drops or releases the guard resigns.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn campaign(&self) -> Result<LockGuard, Error> {
        self.lock.acquire().await
    }

    /// Waits to lead and runs `work` with the term; whenever the leadership is lost, drops the work at its next await,
    /// before another leader can begin, and campaigns again. Ends with what the work returns; then it resigns. A store
    /// that is away is waited for.
    ///
    /// Work that computes or blocks for long between two awaits cannot be stopped there: let it check the term where it
    /// writes.
    ///
    /// # Errors
    /// As [`Lock::acquire`], but for a store that is away.
    pub async fn while_leading<F: Future>(&self, mut work: impl FnMut(crate::Fence) -> F) -> Result<F::Output, Error> {
        loop {
            match self.campaign().await {
                Ok(guard) => match guard.run_out(&mut work).await {
                    // What is done is not done again, whoever leads by now.
                    Ok((done, _)) => return Ok(done),
                    Err(Error::LockLost { .. }) => {}
                    Err(error) => return Err(error),
                },
                Err(Error::Store(error)) if error.is_retryable() => {
                    warn!(%error, lock = ?self.lock, "the store is away; the campaign goes on");
                    self.lock.client.env().sleep(CAMPAIGN_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
