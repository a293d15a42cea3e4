//! Moves jobs whose time has come from scheduled and retrying to pending.
//! Runs in every server; the store makes sure that each job moves once.
//! Decides nothing: the store compares `run_at` with its own clock.

use std::{sync::Arc, time::Duration};

use tracing::debug;

use crate::server::core::{Core, Life};

/// The most jobs to move at once.
const STEP: u32 = 500;
/// The longest wait between two looks.
const POLL: Duration = Duration::from_secs(1);

pub(crate) async fn run(core: Arc<Core>) {
    let mut wakeups = core.store().wakeups();
    while core.life() < Life::Stopping {
        // Note the counter before we look, or a job scheduled in between would wait for the next look.
        wakeups.mark_seen();
        let wait = match core.store().promote(STEP).await {
            Ok(promoted) => promoted.next_due.unwrap_or(POLL).min(POLL),
            Err(error) => {
                debug!(%error, "due jobs could not be promoted");
                POLL
            }
        };
        if wait.is_zero() {
            tokio::task::consume_budget().await;
            continue;
        }
        tokio::select! {
            biased;
            // A busy store hints all the time, and nothing that was just scheduled is due within a few milliseconds.
            () = wakeups.changed() => drop(core.sleep_until(Life::Stopping, wait.min(Duration::from_millis(5))).await),
            _ = core.sleep_until(Life::Stopping, wait) => {}
        }
    }
}
