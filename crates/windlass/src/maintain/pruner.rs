//! Removes what retention lets go, in small steps, and buries jobs of kinds that no live server has handled for long.
//! Runs in every server; the store makes sure that each job goes once.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use crate::{
    server::core::{Core, Life},
    store::Prune,
};

/// The most jobs to remove at once.
const STEP: u32 = 500;
/// How often to look.
const EVERY: Duration = Duration::from_secs(15);

pub(crate) async fn run(core: Arc<Core>) {
    // Not all processes of a fleet at the same moment.
    let mut wait = core.env.jittered(EVERY);
    while !core.sleep_until(Life::Stopping, wait).await {
        wait = core.env.jittered(EVERY);
        match core.store().prune(&Prune::Expired, STEP).await {
            Ok(pruned) if pruned.more => wait = Duration::from_millis(10),
            Ok(_) => {}
            Err(error) => debug!(%error, "expired jobs could not be removed"),
        }
        match core.store().sweep_unknown(core.config.unknown_kind_after, STEP).await {
            Ok(0) => {}
            Ok(buried) => warn!(buried, "jobs of a kind that no live server has handled for long are dead"),
            Err(error) => debug!(%error, "kinds without a server could not be looked for"),
        }
    }
}
