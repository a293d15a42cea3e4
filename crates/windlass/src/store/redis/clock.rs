//! What this process knows of the store's clocks. Due times go by the wall clock of Redis; leases by a steady clock
//! that no step of it moves (see `lua/pulse.lua`). Tests move the wall clock by hand: [`Time::Env`] is that one hook.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    env::Env,
    job::{Monotonic, micros},
};

/// Whose wall clock the scripts go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// `TIME` of Redis.
    Server,
    /// The caller's, handed over with every call, and its boot for the start of Redis: for tests that move time.
    #[cfg(feature = "testing")]
    Env,
}

/// An answer that took longer says too little of when its time was read.
const PROMPT: Duration = Duration::from_millis(250);
/// What was heard longer ago is heard anew by who keeps locks: servers pulse, others may not have for days.
const FRESH: Duration = Duration::from_secs(1);

/// What the last pulse said.
#[derive(Clone)]
struct Told {
    wall: i64,
    at: Monotonic,
    offset: i64,
    start: Arc<str>,
}

pub(super) struct Clock {
    env: Env,
    time: Time,
    told: Mutex<Option<Told>>,
}

impl Clock {
    pub(super) fn new(env: Env, time: Time) -> Self {
        Self { env, time, told: Mutex::new(None) }
    }

    /// The start of Redis to go by, given the one that the connection saw.
    pub(super) fn start(&self, of_connection: &Arc<str>) -> Arc<str> {
        match self.time {
            Time::Server => of_connection.clone(),
            #[cfg(feature = "testing")]
            Time::Env => self.env.boot(),
        }
    }

    /// Whether a pulse must be heard before leases are given: none was yet, or Redis has started anew.
    pub(super) fn is_unknown(&self, start: &str) -> bool {
        self.told.lock().as_ref().is_none_or(|told| *told.start != *start)
    }

    /// Whether a pulse should be heard before locks are asked for: a step of the wall clock that nobody tells of ends the
    /// locks of all who live, and what is known of the time wears out as clocks drift.
    pub(super) fn is_old(&self, start: &str) -> bool {
        let now = self.env.monotonic();
        let is_fresh = |told: &Told| *told.start == *start && now >= told.at && now.since(told.at) < FRESH;
        !self.told.lock().as_ref().is_some_and(is_fresh)
    }

    /// The wall clock of a test; empty in production.
    pub(super) fn pinned(&self) -> String {
        match self.time {
            Time::Server => String::new(),
            #[cfg(feature = "testing")]
            Time::Env => self.env.wall().as_micros().to_string(),
        }
    }

    /// The first three arguments of every script on a queue.
    pub(super) fn moment(&self) -> [String; 3] {
        let told = self.told.lock().clone();
        let expected = told.as_ref().and_then(|told| Some(told.wall + self.elapsed(told)?));
        let offset = told.map_or(0, |told| told.offset);
        [self.pinned(), expected.map(|wall| wall.to_string()).unwrap_or_default(), offset.to_string()]
    }

    /// Microseconds since the last pulse; none across a reboot of this host.
    fn elapsed(&self, told: &Told) -> Option<i64> {
        let now = self.env.monotonic();
        (now >= told.at).then(|| now.0 - told.at.0)
    }

    /// The arguments of a pulse, and the moment at which it was asked for.
    pub(super) fn pulse(&self, start: &str, lease: Duration, ran_late: bool) -> (Monotonic, Vec<Vec<u8>>) {
        let told = self.told.lock().clone();
        let known = told.and_then(|told| Some((told.wall.to_string(), self.elapsed(&told)?.to_string())));
        let (wall, elapsed) = known.unwrap_or_default();
        let late = if ran_late { "1" } else { "0" };
        let args = [self.pinned(), start.into(), wall, elapsed, micros(lease).to_string(), late.into()];
        (self.env.monotonic(), args.map(String::into_bytes).to_vec())
    }

    /// Notes what a pulse said, unless something better is known.
    pub(super) fn learn(&self, at: Monotonic, wall: i64, offset: i64, start: Arc<str>) {
        let is_late = self.env.monotonic().since(at) > PROMPT;
        let mut told = self.told.lock();
        if !is_late || told.as_ref().is_none_or(|told| told.start != start) {
            *told = Some(Told { wall, at, offset, start });
        }
    }
}
