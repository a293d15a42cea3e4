//! Where a job begins.

use crate::job::{Start, State, Timestamp};

/// The moment before which a job does not run.
pub fn moment(start: Start, now: Timestamp) -> Timestamp {
    match start {
        Start::Now => now,
        Start::At(at) => at,
        Start::In(wait) => now.after(wait),
    }
}

/// The first state of a job that is to run at `run_at`.
pub fn first_state(run_at: Timestamp, now: Timestamp, grouped: bool) -> State {
    match run_at > now {
        true => State::Scheduled,
        false if grouped => State::Aggregating,
        false => State::Pending,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_job_waits_for_its_time_first_and_for_its_group_then() {
        let now = Timestamp::from_micros(1_000_000);
        let later = moment(Start::In(Duration::from_secs(1)), now);
        assert_eq!(later, Timestamp::from_micros(2_000_000));
        assert_eq!(first_state(later, now, true), State::Scheduled);
        assert_eq!(first_state(later, later, true), State::Aggregating);
        let past = moment(Start::At(Timestamp::from_micros(3)), now);
        assert_eq!(first_state(past, now, false), State::Pending);
        assert_eq!(first_state(moment(Start::Now, now), now, false), State::Pending);
    }
}
