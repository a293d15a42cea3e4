//! Exclusive jobs: of those with one key in one queue, at most one stands in line or runs; the others wait, blocked.
//! The job that does is the holder: there is no other lock, so nothing can leak and nothing has to be reaped.

use crate::job::State;

/// Whether a job in this state keeps all others of its key out of line.
pub fn holds(state: State) -> bool {
    matches!(state, State::Pending | State::Running)
}

/// Whether the next of its key may go in line, since a job has left one state for another, or for good.
pub fn frees(from: State, to: Option<State>) -> bool {
    holds(from) && !to.is_some_and(holds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::TRANSITIONS;

    #[test]
    fn a_key_is_held_from_the_line_to_the_end_of_the_run_and_through_a_rescue() {
        assert!(holds(State::Pending) && holds(State::Running));
        assert!(!frees(State::Pending, Some(State::Running)) && !frees(State::Running, Some(State::Pending)));
        for to in [Some(State::Retrying), Some(State::Scheduled), Some(State::Completed), Some(State::Dead), None] {
            assert!(frees(State::Running, to), "{to:?}");
        }
        assert!(frees(State::Pending, None) && !frees(State::Blocked, Some(State::Cancelled)));
    }

    #[test]
    fn whatever_may_come_into_line_from_outside_may_be_blocked_instead_or_comes_from_there() {
        for (from, cause, to) in TRANSITIONS {
            let comes_in = holds(*to) && !holds(*from) && *from != State::Aggregating;
            assert!(
                !comes_in || *from == State::Blocked || from.may_become(State::Blocked, *cause),
                "{from} {cause:?}"
            );
        }
    }
}
