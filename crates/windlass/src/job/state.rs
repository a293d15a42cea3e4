//! The states of a job and the one table of allowed transitions.
//! Every store is tested against [`TRANSITIONS`]; nothing else says what may follow what.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where a job is in its life.
///
/// ```
/// use windlass::{JobState, Status};
/// assert!(JobState::Dead.is_terminal());
/// assert_eq!((JobState::Dead.as_str(), JobState::Dead.status()), ("dead", Status::Failed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// Waits in line for a free slot.
    Pending,
    /// Waits for its time.
    Scheduled,
    /// Waits for another job: for the one that holds its [exclusive](crate::JobOptions::exclusive) key.
    Blocked,
    /// Waits for its group to be flushed.
    Aggregating,
    /// A server holds its lease.
    Running,
    /// Failed, and waits for its next attempt.
    Retrying,
    /// Ended well.
    Completed,
    /// Will not run again unless an operator says so.
    Dead,
    /// Ended by somebody's wish.
    Cancelled,
}

/// The seed vocabulary: a view of [`State`] in four words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Pending, scheduled, blocked, aggregating or retrying.
    Pending,
    /// Running.
    Running,
    /// Completed.
    Completed,
    /// Dead or cancelled.
    Failed,
}

/// What makes a job change its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Its time came.
    Promote,
    /// The job it waited for ended, or left the line.
    Unblock,
    /// Its group was flushed; the job ended by going into another one.
    Flush,
    /// A server took it.
    Claim,
    /// Its run ended and was reported by the holder of the lease.
    Finish,
    /// Its holder gave it back unrun.
    Release,
    /// Its lease lapsed.
    Rescue,
    /// A sweep found that no live server handles its kind, or that its time is over.
    Sweep,
    /// An operator asked.
    Operate,
}

impl State {
    /// All states, in the order in which the documents name them.
    pub const ALL: [State; 9] = [
        State::Pending,
        State::Scheduled,
        State::Blocked,
        State::Aggregating,
        State::Running,
        State::Retrying,
        State::Completed,
        State::Dead,
        State::Cancelled,
    ];

    /// Its place in [`State::ALL`]: a small number that stores may keep. Never reordered.
    pub const fn code(self) -> u8 {
        match self {
            State::Pending => 0,
            State::Scheduled => 1,
            State::Blocked => 2,
            State::Aggregating => 3,
            State::Running => 4,
            State::Retrying => 5,
            State::Completed => 6,
            State::Dead => 7,
            State::Cancelled => 8,
        }
    }

    /// The state with this [code](State::code).
    pub const fn from_code(code: u8) -> Option<State> {
        if (code as usize) < Self::ALL.len() { Some(Self::ALL[code as usize]) } else { None }
    }

    /// Whether the job's life is over, unless an operator redrives it.
    pub const fn is_terminal(self) -> bool {
        matches!(self, State::Completed | State::Dead | State::Cancelled)
    }

    /// The state in the seed's four words.
    pub const fn status(self) -> Status {
        match self {
            State::Running => Status::Running,
            State::Completed => Status::Completed,
            State::Dead | State::Cancelled => Status::Failed,
            _ => Status::Pending,
        }
    }

    /// The name, as it stands in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Scheduled => "scheduled",
            State::Blocked => "blocked",
            State::Aggregating => "aggregating",
            State::Running => "running",
            State::Retrying => "retrying",
            State::Completed => "completed",
            State::Dead => "dead",
            State::Cancelled => "cancelled",
        }
    }

    /// Whether [`TRANSITIONS`] lets `cause` lead from this state to `to`.
    pub fn may_become(self, to: State, cause: Cause) -> bool {
        TRANSITIONS.contains(&(self, cause, to))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|state| state.as_str()).collect();
            format!("no state is called `{name}`; there are {}", names.join(", "))
        })
    }
}

impl Status {
    /// The name, as it stands in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Completed => "completed",
            Status::Failed => "failed",
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Status::Pending, Status::Running, Status::Completed, Status::Failed]
            .into_iter()
            .find(|status| status.as_str() == name)
            .ok_or_else(|| format!("no status is called `{name}`; there are pending, running, completed, failed"))
    }
}

/// Every change of state that may happen, and what causes it. A job starts as scheduled, blocked, aggregating or
/// pending; it leaves the table when it is removed (retention, or an operator's delete of a job that does not run).
pub const TRANSITIONS: &[(State, Cause, State)] = {
    use Cause as C;
    use State::*;
    &[
        (Scheduled, C::Promote, Pending),
        (Scheduled, C::Promote, Aggregating),
        (Retrying, C::Promote, Pending),
        (Scheduled, C::Promote, Blocked),
        (Retrying, C::Promote, Blocked),
        (Blocked, C::Unblock, Pending),
        (Blocked, C::Unblock, Cancelled),
        (Blocked, C::Unblock, Dead),
        (Aggregating, C::Flush, Completed),
        (Pending, C::Claim, Running),
        (Running, C::Finish, Completed),
        (Running, C::Finish, Retrying),
        (Running, C::Finish, Scheduled),
        (Running, C::Finish, Dead),
        (Running, C::Finish, Cancelled),
        (Running, C::Release, Pending),
        (Running, C::Release, Cancelled),
        (Running, C::Rescue, Pending),
        (Running, C::Rescue, Dead),
        (Running, C::Rescue, Cancelled),
        (Pending, C::Sweep, Dead),
        (Pending, C::Operate, Cancelled),
        (Scheduled, C::Operate, Cancelled),
        (Blocked, C::Operate, Cancelled),
        (Aggregating, C::Operate, Cancelled),
        (Retrying, C::Operate, Cancelled),
        (Pending, C::Operate, Dead),
        (Scheduled, C::Operate, Dead),
        (Blocked, C::Operate, Dead),
        (Aggregating, C::Operate, Dead),
        (Retrying, C::Operate, Dead),
        (Scheduled, C::Operate, Pending),
        (Aggregating, C::Operate, Pending),
        (Retrying, C::Operate, Pending),
        (Scheduled, C::Operate, Blocked),
        (Retrying, C::Operate, Blocked),
        (Pending, C::Operate, Scheduled),
        (Scheduled, C::Operate, Scheduled),
        (Retrying, C::Operate, Scheduled),
        (Dead, C::Operate, Pending),
        (Cancelled, C::Operate, Pending),
        (Dead, C::Operate, Blocked),
        (Cancelled, C::Operate, Blocked),
        (Dead, C::Operate, Aggregating),
        (Cancelled, C::Operate, Aggregating),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back_to_their_state() {
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(state));
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!(State::from_code(9), None);
        assert!("done".parse::<State>().unwrap_err().contains("pending, scheduled"));
    }

    #[test]
    fn only_an_operator_takes_a_job_out_of_a_terminal_state() {
        for (from, cause, _) in TRANSITIONS {
            assert!(!from.is_terminal() || *cause == Cause::Operate);
        }
        assert!(!TRANSITIONS.iter().any(|(from, ..)| *from == State::Completed));
    }

    #[test]
    fn a_running_job_is_left_only_by_its_lease() {
        for (_, cause, _) in TRANSITIONS.iter().filter(|(from, ..)| *from == State::Running) {
            assert!(matches!(cause, Cause::Finish | Cause::Release | Cause::Rescue));
        }
    }
}
