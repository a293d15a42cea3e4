//! The rules that the checker holds a run to, by name, and what it says when one does not hold.

use std::{fmt, time::Duration};

use windlass::JobId;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Every acknowledged job ends, and is where its end put it.
    NothingIsLost,
    /// A job has one accepted outcome, and runs no more after it.
    OneOutcome,
    /// Fences rise with each claim of a job.
    FencesRise,
    /// Nothing is accepted from a lease that is not the newest.
    StaleIsRefused,
    /// A job is given out again only once its lease has lapsed.
    NoOverlap,
    /// Enqueued = sum over all states + removed.
    CensusAddsUp,
    /// A crash is counted only where a process died or stood still for long.
    CrashesAreEarned,
    /// The attempt is the number of failures + 1, and the other numbers are kept.
    NumbersAreKept,
    /// An outage alone is nobody's crash.
    OutageIsNoCrash,
    /// At most `max_retry` + 1 attempts fail.
    RetriesEnd,
    /// The third crash buries a job, and nothing less.
    PoisonAtThree,
    /// A job with two crashes runs while no other job of its process does.
    SuspectRunsAlone,
    /// Of the jobs with one exclusive key, one runs at a time.
    ExclusiveRunsAlone,
    /// The jobs of a killed process are back in line within 15 seconds.
    RecoveryInSeconds,
    /// A job that was cancelled does not start again, and a running one stops soon.
    CancelHolds,
    /// No run begins behind a checkpoint that was acknowledged.
    CheckpointsHold,
    /// The repeat of a claim gives what the claim gave.
    RepeatGivesTheSame,
    /// All is settled a while after the last fault.
    EverythingSettles,
}

/// A rule that did not hold.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) at: Duration,
    pub(crate) job: Option<JobId>,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}: {}", self.rule, self.at, self.what)?;
        self.job.as_ref().map_or(Ok(()), |job| write!(f, " ({job})"))
    }
}
