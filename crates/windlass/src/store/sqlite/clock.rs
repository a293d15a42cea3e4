//! The clocks of one step: due times go by the wall clock, leases by the host's monotonic clock and the name of its
//! boot, so that a stepped wall clock rescues nobody.

use std::{sync::Arc, time::Duration};

use crate::{
    env::Env,
    job::{Monotonic, Timestamp},
};

/// No lease ends further away than this; one that does was made in another boot.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// The moment of a step.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    pub(super) now: Timestamp,
    pub(super) mono: Monotonic,
    pub(super) boot: Arc<str>,
}

impl Clock {
    pub(super) fn read(env: &Env) -> Self {
        Self { now: env.wall(), mono: env.monotonic(), boot: env.boot() }
    }

    /// The latest end that a lease of this boot can have.
    pub(super) fn far(&self) -> Monotonic {
        self.mono.after(FAR)
    }
}
