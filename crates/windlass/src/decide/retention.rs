//! How long a job that has ended stays.

use std::time::Duration;

use crate::job::State;

/// How long a job that is now in the terminal state `state` stays; zero: it goes at once. What went well stays as its
/// enqueuer asked; what is dead or cancelled stays as the store says, so that somebody can look at it.
pub fn keep(state: State, retention: Duration, keep_failed: Duration) -> Duration {
    if state == State::Completed { retention } else { keep_failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_kept_though_its_retention_is_nothing() {
        let month = Duration::from_secs(30 * 24 * 3600);
        assert_eq!(keep(State::Completed, Duration::ZERO, month), Duration::ZERO);
        assert_eq!(keep(State::Dead, Duration::ZERO, month), month);
        assert_eq!(keep(State::Cancelled, month * 2, month), month);
    }
}
