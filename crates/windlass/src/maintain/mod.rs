//! The services that keep a store in order. Every server runs them; the store makes sure that each change happens
//! once, so any number of them may run. One file a service, one shape: look, act, say how long until the next look.

pub(crate) mod aggregator;
mod promoter;
mod pruner;
mod rescuer;
pub(crate) mod scheduler;

use std::sync::Arc;

use tokio::task::JoinHandle;

use self::scheduler::Scheduler;
use crate::server::core::{Core, watched};

/// Starts all of them.
pub(crate) fn start(core: &Arc<Core>, scheduler: Scheduler) -> Vec<JoinHandle<()>> {
    vec![
        core.env.spawn(watched(core, "the promoter", promoter::run(core.clone()))),
        core.env.spawn(watched(core, "the rescuer", rescuer::run(core.clone()))),
        core.env.spawn(watched(core, "the pruner", pruner::run(core.clone()))),
        core.env.spawn(watched(core, "the aggregator", aggregator::run(core.clone()))),
        core.env.spawn(watched(core, "the scheduler", scheduler::run(core.clone(), scheduler))),
    ]
}
