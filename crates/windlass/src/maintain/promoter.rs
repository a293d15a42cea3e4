//! Moves jobs whose time has come from scheduled and retrying to pending.
//! Runs in every server; the store makes sure that each job moves once, and compares `run_at` with its own clock.
//! When more are due than should stand in line, the store holds them back; then this looks again as soon as the server
//! itself has claimed a good part of the line, and now and then for what others have claimed.

use std::{sync::Arc, time::Duration};

use tracing::debug;

use crate::{
    server::core::{Core, Life},
    store::{PromoteRules, Promoted, StoreError, WakeUps},
};

/// The most jobs to move at once: a store serves nobody else meanwhile.
const STEP: u32 = 250;
/// The longest wait between two looks.
const POLL: Duration = Duration::from_secs(1);
/// How soon to look for what other servers have claimed; longer each time that nothing came of it.
const HELD_POLL: Duration = Duration::from_millis(20);

pub(crate) async fn run(core: Arc<Core>) {
    let mut wakeups = core.store().wakeups();
    let mut held_poll = HELD_POLL;
    while core.life() < Life::Stopping {
        // Note the counter before we look, or a job scheduled in between would wait for the next look.
        wakeups.mark_seen();
        let promoted = promote(&core).await.unwrap_or_else(|error| {
            debug!(%error, "due jobs could not be promoted");
            Promoted::default()
        });
        if promoted.next_due == Some(Duration::ZERO) {
            tokio::task::consume_budget().await;
            continue;
        }
        let longest = if promoted.held_back { held_poll } else { POLL };
        let wait = promoted.next_due.unwrap_or(longest).min(longest);
        held_poll = if promoted.moved > 0 { HELD_POLL } else { (held_poll * 2).min(POLL) };
        rest(&core, &mut wakeups, wait, promoted.held_back).await;
    }
}

async fn promote(core: &Core) -> Result<Promoted, StoreError> {
    let rules = PromoteRules { limit: STEP, look_ahead: core.look_ahead(), beyond: core.taken.halves() };
    core.store().promote(&rules).await
}

/// Waits this long, or until there may be something to do.
async fn rest(core: &Core, wakeups: &mut WakeUps, wait: Duration, held_back: bool) {
    let hinted = async {
        wakeups.changed().await;
        // A busy store hints all the time, and nothing that was just scheduled is due within a few milliseconds.
        core.env.sleep(wait.min(Duration::from_millis(5))).await;
    };
    tokio::select! {
        biased;
        () = core.taken.emptied.notified(), if held_back => {}
        () = hinted => {}
        _ = core.sleep_until(Life::Stopping, wait) => {}
    }
}
