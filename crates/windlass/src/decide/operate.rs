//! What an operator may do to a job, by the state it is in.

use std::sync::Arc;

use bytes::Bytes;

use crate::job::{Start, State};

/// What an operator asks of one job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Ends it. A running one is told to stop, and is cancelled when it has.
    Cancel {
        /// Shown as the job's reason.
        reason: Arc<str>,
    },
    /// A dead or cancelled job goes back in line with all its attempts; its crashes are forgotten. A job of a group that
    /// has never run goes back into its group.
    Redrive,
    /// Makes it dead (`buried`).
    Bury,
    /// Removes it. A running one is not removed.
    Delete,
    /// A scheduled or retrying job goes in line now, and so does one that waits in a group: it leaves it and runs alone.
    RunNow,
    /// Replaces the payload of a job that is neither running nor completed.
    Edit {
        /// The new payload.
        payload: Bytes,
    },
    /// Gives a waiting job another time.
    Reschedule {
        /// When.
        start: Start,
    },
}

/// What an [`Action`] does to a job in a given state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Its state becomes this.
    Become(State),
    /// It stays where it is; the payload changes.
    Edit,
    /// It keeps running and is told to stop.
    AskToCancel,
    /// It is removed.
    Remove,
    /// The state does not allow it.
    Conflict,
}

/// The effect of `action` on a job in `state`; `grouped`: it [belongs](super::group::joins) into a group, not in line.
pub fn effect(action: &Action, state: State, grouped: bool) -> Effect {
    use State::*;
    match (action, state) {
        (Action::Cancel { .. }, Running) => Effect::AskToCancel,
        (Action::Cancel { .. }, Pending | Scheduled | Blocked | Aggregating | Retrying) => Effect::Become(Cancelled),
        (Action::Bury, Pending | Scheduled | Blocked | Aggregating | Retrying) => Effect::Become(Dead),
        (Action::Redrive, Dead | Cancelled) => Effect::Become(if grouped { Aggregating } else { Pending }),
        (Action::RunNow, Scheduled | Aggregating | Retrying) => Effect::Become(Pending),
        (Action::Reschedule { .. }, Pending | Scheduled | Retrying) => Effect::Become(Scheduled),
        (Action::Edit { .. }, Running | Completed) => Effect::Conflict,
        (Action::Edit { .. }, _) => Effect::Edit,
        (Action::Delete, Running) => Effect::Conflict,
        (Action::Delete, _) => Effect::Remove,
        _ => Effect::Conflict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Cause;

    #[test]
    fn no_action_leaves_the_table_of_transitions() {
        let actions = [
            Action::Cancel { reason: "x".into() },
            Action::Redrive,
            Action::Bury,
            Action::Delete,
            Action::RunNow,
            Action::Edit { payload: Bytes::new() },
            Action::Reschedule { start: Start::Now },
        ];
        for action in &actions {
            for (state, grouped) in State::ALL.into_iter().flat_map(|state| [(state, false), (state, true)]) {
                if let Effect::Become(to) = effect(action, state, grouped) {
                    assert!(state.may_become(to, Cause::Operate), "{action:?}: {state} to {to}");
                }
            }
        }
    }

    #[test]
    fn a_running_job_is_asked_to_stop_and_never_removed_under_its_holder() {
        assert_eq!(effect(&Action::Cancel { reason: "x".into() }, State::Running, false), Effect::AskToCancel);
        assert_eq!(effect(&Action::Delete, State::Running, false), Effect::Conflict);
        assert_eq!(effect(&Action::Redrive, State::Completed, false), Effect::Conflict);
    }

    #[test]
    fn a_redriven_job_goes_back_into_its_group_and_one_that_is_to_run_now_leaves_it() {
        assert_eq!(effect(&Action::Redrive, State::Dead, true), Effect::Become(State::Aggregating));
        assert_eq!(effect(&Action::Redrive, State::Dead, false), Effect::Become(State::Pending));
        assert_eq!(effect(&Action::RunNow, State::Aggregating, true), Effect::Become(State::Pending));
    }
}
