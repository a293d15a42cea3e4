//! Whether a unique key stands in the way of a job. How a key is made of a value is in `job/unique.rs`, where options are
//! checked.

use crate::job::{State, Timestamp, Unique, UniqueKey, UniqueMode};

/// Whether a key that was taken for a time, until `expires`, still holds.
pub fn holds(expires: Timestamp, now: Timestamp) -> bool {
    expires > now
}

/// The key that a job needs again when an operator brings it from `from` to `to`: it gave it up at its end, and
/// another job may have it now. A key that holds for a time is not given up, and not taken anew.
pub fn needed_again(unique: Option<Unique>, from: State, to: State) -> Option<UniqueKey> {
    let revived = from.is_terminal() && !to.is_terminal();
    unique.filter(|unique| revived && unique.mode == UniqueMode::UntilDone).map(|unique| unique.key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_for_a_time_is_free_at_its_very_end() {
        let end = Timestamp::from_micros(5);
        assert!(holds(end, Timestamp::from_micros(4)) && !holds(end, end));
    }

    #[test]
    fn only_a_job_that_comes_back_to_life_needs_its_key_again() {
        let of = |mode| Some(Unique { key: UniqueKey([1; 16]), mode });
        let live = of(UniqueMode::UntilDone);
        assert!(needed_again(live, State::Dead, State::Pending).is_some());
        assert!(needed_again(live, State::Cancelled, State::Aggregating).is_some());
        assert!(needed_again(live, State::Scheduled, State::Pending).is_none(), "it has it");
        assert!(needed_again(live, State::Pending, State::Dead).is_none());
        let timed = of(UniqueMode::Idempotency { ttl: Duration::from_secs(1) });
        assert!(needed_again(timed, State::Dead, State::Pending).is_none());
        assert!(needed_again(None, State::Dead, State::Pending).is_none());
    }
}
