//! What becomes of a job whose lease lapsed, and when nobody may be rescued.
//! A crash is not a failure: it burns no attempt, but a job that takes its process down again and again is poison.

use std::time::Duration;

use crate::job::{DeadReason, Monotonic, State};

/// What a lapsed lease does to its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Back in line, at the front, with one more crash.
    Pending,
    /// Too many crashes.
    Dead(DeadReason),
    /// Somebody asked for it to be cancelled meanwhile.
    Cancelled,
}

impl Fate {
    /// The state it leads to.
    pub fn state(self) -> State {
        match self {
            Fate::Pending => State::Pending,
            Fate::Dead(_) => State::Dead,
            Fate::Cancelled => State::Cancelled,
        }
    }
}

/// The fate of a job that has now crashed `crashes` times.
pub fn fate(crashes: u32, poison_after: u32, cancel_requested: bool) -> Fate {
    if cancel_requested {
        Fate::Cancelled
    } else if crashes >= poison_after {
        Fate::Dead(DeadReason::Poison)
    } else {
        Fate::Pending
    }
}

/// Whether a job is the suspect: its next crash is its last. A suspect is claimed only by a process that runs nothing
/// else, so that no neighbour is buried for it, nor it for a neighbour.
pub fn is_suspect(crashes: u32, poison_after: u32) -> bool {
    crashes > 0 && crashes + 1 >= poison_after
}

/// The store's sign of life. An outage is not a crash: right after one, the living get their jobs back first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// When a server last stamped the store.
    pub stamped: Monotonic,
    /// Nobody is rescued before this.
    pub no_rescue_before: Monotonic,
}

impl Pulse {
    /// The pulse of a new store.
    pub fn new(now: Monotonic) -> Self {
        Self { stamped: now, no_rescue_before: now }
    }

    /// The pulse after a stamp at `now`. A stamp that comes more than half a lease after the last one ends a gap, and
    /// so does the stamp of a process that itself ran that late: no rescue for 0.4 leases from now. A store that comes
    /// and goes gives the living no time to renew, so within such a pause half that gap begins the pause anew.
    #[must_use]
    pub fn stamp(self, now: Monotonic, lease: Duration, ran_late: bool) -> Self {
        let pausing = self.no_rescue_before > self.stamped;
        let gap = now.since(self.stamped) > if pausing { lease / 4 } else { lease / 2 };
        let wait = if gap || ran_late { now.after(lease.mul_f64(0.4)) } else { self.no_rescue_before };
        Self { stamped: now.max(self.stamped), no_rescue_before: wait.max(self.no_rescue_before) }
    }

    /// Whether lapsed leases may be taken at `now`.
    pub fn may_rescue(self, now: Monotonic) -> bool {
        now >= self.no_rescue_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Monotonic {
        Monotonic(seconds * 1_000_000)
    }

    #[test]
    fn the_third_crash_is_poison_and_a_wish_to_cancel_wins() {
        assert_eq!(fate(1, 3, false), Fate::Pending);
        assert_eq!(fate(2, 3, false), Fate::Pending);
        assert_eq!(fate(3, 3, false), Fate::Dead(DeadReason::Poison));
        assert_eq!(fate(3, 3, true), Fate::Cancelled);
    }

    #[test]
    fn a_job_is_suspect_once_its_next_crash_is_its_last() {
        assert_eq!([0, 1, 2].map(|crashes| is_suspect(crashes, 3)), [false, false, true]);
        assert!(!is_suspect(0, 1), "a job that never crashed is nobody's suspect");
    }

    #[test]
    fn right_after_an_outage_nobody_is_rescued() {
        let pulse = Pulse::new(at(0)).stamp(at(3), LEASE, false);
        assert!(pulse.may_rescue(at(3)));
        let after_gap = pulse.stamp(at(60), LEASE, false);
        assert!(!after_gap.may_rescue(at(63)));
        assert!(after_gap.may_rescue(at(64)));
        assert!(!pulse.stamp(at(4), LEASE, true).may_rescue(at(7)));
    }

    #[test]
    fn a_store_that_comes_and_goes_gives_the_living_their_time_again() {
        let back_for_a_moment = Pulse::new(at(0)).stamp(at(60), LEASE, false);
        let back_for_good = back_for_a_moment.stamp(at(63), LEASE, false);
        assert!(!back_for_good.may_rescue(at(66)), "three of the four seconds were an outage, too");
        assert!(back_for_good.may_rescue(at(67)));
        let regular = back_for_a_moment.stamp(at(61), LEASE, false).stamp(at(62), LEASE, false);
        assert!(regular.may_rescue(at(64)), "ordinary stamps prolong nothing");
        let over = regular.stamp(at(64), LEASE, false);
        assert!(over.stamp(at(68), LEASE, false).may_rescue(at(68)), "nor does such a gap once the pause is over");
    }
}
