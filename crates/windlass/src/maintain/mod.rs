//! The services that keep a store in order. Every server runs them; the store makes sure that each change happens
//! once, so any number of them may run. One file a service, one shape: look, act, say how long until the next look.

pub(crate) mod aggregator;
mod promoter;
mod pruner;
mod rescuer;

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::server::core::Core;

/// Starts all of them.
pub(crate) fn start(core: &Arc<Core>) -> Vec<JoinHandle<()>> {
    vec![
        core.env.spawn(promoter::run(core.clone())),
        core.env.spawn(rescuer::run(core.clone())),
        core.env.spawn(pruner::run(core.clone())),
        core.env.spawn(aggregator::run(core.clone())),
    ]
}
