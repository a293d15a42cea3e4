//! What this process knows of the store's clocks. Due times go by the wall clock of the server; leases by a steady clock
//! that no step of it moves (`tick` in `sql/core.sql`). Tests move the wall clock by hand: [`Time::Env`] is that one hook.

use std::time::Duration;

use parking_lot::Mutex;

use crate::{env::Env, job::Monotonic};

/// Whose wall clock the functions go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// The server's.
    Server,
    /// The caller's, handed over with every call, and its boot for the start of the server: for tests that move time.
    #[cfg(feature = "testing")]
    Env,
}

/// An answer that took longer says too little of when its time was read.
const PROMPT: Duration = Duration::from_millis(250);

/// What the last call that told the time said.
#[derive(Clone, Copy)]
struct Told {
    wall: i64,
    at: Monotonic,
}

pub(super) struct Clock {
    env: Env,
    time: Time,
    told: Mutex<Option<Told>>,
}

/// The first arguments of the functions that look at leases.
pub(super) struct Moment {
    pub(super) wall: Option<i64>,
    pub(super) start: Option<String>,
    pub(super) told: Option<i64>,
    pub(super) elapsed: Option<i64>,
    pub(super) asked: Monotonic,
}

impl Clock {
    pub(super) fn new(env: Env, time: Time) -> Self {
        Self { env, time, told: Mutex::new(None) }
    }

    /// The wall clock of a test; none in production.
    pub(super) fn wall(&self) -> Option<i64> {
        match self.time {
            Time::Server => None,
            #[cfg(feature = "testing")]
            Time::Env => Some(self.env.wall().as_micros()),
        }
    }

    fn start(&self) -> Option<String> {
        match self.time {
            Time::Server => None,
            #[cfg(feature = "testing")]
            Time::Env => Some(self.env.boot().to_string()),
        }
    }

    pub(super) fn moment(&self) -> Moment {
        let asked = self.env.monotonic();
        // None across a reboot of this host.
        let told = (*self.told.lock()).filter(|told| asked >= told.at);
        Moment {
            wall: self.wall(),
            start: self.start(),
            told: told.map(|told| told.wall),
            elapsed: told.map(|told| asked.0 - told.at.0),
            asked,
        }
    }

    /// Notes what a call said of the wall clock.
    pub(super) fn learn(&self, moment: &Moment, wall: i64) {
        if self.env.monotonic().since(moment.asked) <= PROMPT {
            *self.told.lock() = Some(Told { wall, at: moment.asked });
        }
    }
}
