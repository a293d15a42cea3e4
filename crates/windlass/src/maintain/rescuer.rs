//! Takes over lapsed leases: the jobs go back in line, or are buried as poison.
//! Runs in every server; the store finds and takes a lapsed lease in one step, so that each crash counts once.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use crate::{
    server::{
        core::{Core, Life},
        events::{Event, EventKind},
    },
    store::RescueRules,
};

/// The most jobs to take at once.
const STEP: u32 = 500;
/// How often to look; each look is a sign of life as well.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(core: Arc<Core>) {
    let lease = core.config.lease;
    let every = EVERY.min(lease / 6);
    let mut last = core.env.monotonic();
    while core.life() < Life::Stopping {
        let now = core.env.monotonic();
        let ran_late = now.since(last) > lease / 2;
        last = now;
        let rules = RescueRules { poison_after: core.config.poison_after, lease, limit: STEP, ran_late };
        match core.store().rescue(&rules).await {
            Ok(rescued) => {
                for job in &rescued.jobs {
                    warn!(job.id = %job.id, job.kind = &*job.kind, state = %job.state,
                        "its lease had lapsed; the process that ran it vanished");
                    core.tell_all(&Event {
                        at: core.env.wall(),
                        event: EventKind::Rescued,
                        id: job.id.clone(),
                        kind: job.kind.clone(),
                        queue: job.queue.as_str().into(),
                        attempt: job.attempt,
                        fence: job.fence,
                        server: core.id,
                        state: Some(job.state),
                    });
                }
                if rescued.more {
                    continue;
                }
            }
            Err(error) => debug!(%error, "lapsed leases could not be taken"),
        }
        core.sleep_until(Life::Stopping, every).await;
    }
}
