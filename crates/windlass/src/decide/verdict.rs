//! What follows from a run: the verdict on its job. Needs the run, the job's numbers and the retry policy; nothing else.

use std::{sync::Arc, time::Duration};

use super::retry::RetryPolicy;
use crate::job::{DeadReason, ErrorClass, Verdict};

/// How a run ended, seen from the executor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Ran {
    /// The handler returned well.
    Done,
    /// The attempt failed.
    Failed {
        /// What kind of error.
        class: ErrorClass,
        /// The whole source chain.
        message: String,
        /// What the handler asked for.
        then: Then,
        /// Whether the error counts as a failure (`Server::is_failure`).
        counts: bool,
    },
    /// Somebody asked for the job to be cancelled, and it stopped.
    Cancelled(Arc<str>),
    /// The server shut down before the run ended; it was stopped and gives the job back.
    Interrupted,
    /// The deadline had passed before it started.
    TooLate,
}

/// What a handler's error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Then {
    /// Try again as the retry policy says.
    #[default]
    Retry,
    /// Try again after this long.
    RetryAfter(Duration),
    /// Put off by this long, without burning an attempt.
    Snooze(Duration),
    /// It will never work.
    Bury,
}

/// The numbers of a job that its verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Attempts that failed before this run.
    pub failures: u32,
    /// How many may fail before the last.
    pub max_retry: u32,
    /// The job's own seed for its jitter.
    pub seed: u64,
}

/// The verdict on a job after a run.
pub fn verdict(job: Tally, ran: &Ran, policy: &RetryPolicy) -> Verdict {
    let (class, then, counts) = match ran {
        Ran::Done => return Verdict::Complete,
        Ran::Interrupted => return Verdict::Release,
        Ran::TooLate => return Verdict::Bury(DeadReason::Deadline),
        Ran::Cancelled(reason) => return Verdict::Cancel(reason.clone()),
        Ran::Failed { class, then, counts, .. } => (*class, *then, *counts),
    };
    match (class, then) {
        (ErrorClass::Undecodable, _) => Verdict::Bury(DeadReason::Undecodable),
        (ErrorClass::Deadline, _) => Verdict::Bury(DeadReason::Deadline),
        (_, Then::Bury) => Verdict::Bury(DeadReason::Buried),
        (_, Then::Snooze(wait)) => Verdict::Snooze(wait),
        // What is no failure comes back after the wait of a first retry and burns nothing.
        (_, Then::Retry) if !counts => Verdict::Snooze(policy.delay(1, job.seed)),
        (_, Then::RetryAfter(wait)) if !counts => Verdict::Snooze(wait),
        _ if job.failures >= job.max_retry => Verdict::Bury(DeadReason::Exhausted),
        (_, Then::RetryAfter(wait)) => Verdict::RetryIn(wait),
        (_, Then::Retry) => Verdict::RetryIn(policy.delay(job.failures.saturating_add(1), job.seed)),
    }
}

/// The verdict on a job that somebody has asked to be cancelled, with this reason, while it ran: it does not run again.
/// What has ended it, for better or worse, stays.
pub fn with_wish(verdict: Verdict, wish: Option<&Arc<str>>) -> Verdict {
    match (verdict, wish) {
        (Verdict::RetryIn(_) | Verdict::Snooze(_) | Verdict::Release, Some(reason)) => Verdict::Cancel(reason.clone()),
        (verdict, _) => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_was_to_be_cancelled_does_not_run_again_and_keeps_its_end() {
        let wish: Arc<str> = "enough".into();
        for again in [Verdict::RetryIn(Duration::ZERO), Verdict::Snooze(Duration::ZERO), Verdict::Release] {
            assert_eq!(with_wish(again.clone(), Some(&wish)), Verdict::Cancel(wish.clone()));
            assert_eq!(with_wish(again.clone(), None), again);
        }
        for end in [Verdict::Complete, Verdict::Bury(DeadReason::Exhausted)] {
            assert_eq!(with_wish(end.clone(), Some(&wish)), end);
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn after(failures: u32, max_retry: u32, then: Then, counts: bool) -> Verdict {
        let ran = Ran::Failed { class: ErrorClass::Error, message: "no".into(), then, counts };
        verdict(Tally { failures, max_retry, seed: 1 }, &ran, &RetryPolicy::doubling(SECOND))
    }

    #[test]
    fn the_last_attempt_is_buried_not_retried() {
        assert_eq!(after(0, 2, Then::Retry, true), Verdict::RetryIn(SECOND));
        assert_eq!(after(1, 2, Then::Retry, true), Verdict::RetryIn(2 * SECOND));
        assert_eq!(after(2, 2, Then::Retry, true), Verdict::Bury(DeadReason::Exhausted));
        assert_eq!(after(0, 0, Then::RetryAfter(SECOND), true), Verdict::Bury(DeadReason::Exhausted));
    }

    #[test]
    fn a_snooze_is_allowed_even_after_the_last_attempt() {
        assert_eq!(after(9, 2, Then::Snooze(SECOND), true), Verdict::Snooze(SECOND));
    }

    #[test]
    fn what_is_no_failure_burns_no_attempt() {
        assert_eq!(after(2, 2, Then::Retry, false), Verdict::Snooze(SECOND));
        assert_eq!(after(2, 2, Then::RetryAfter(SECOND), false), Verdict::Snooze(SECOND));
    }

    #[test]
    fn an_undecodable_payload_is_dead_whatever_else_was_asked() {
        let ran = Ran::Failed {
            class: ErrorClass::Undecodable,
            message: "bad".into(),
            then: Then::Snooze(SECOND),
            counts: false,
        };
        let tally = Tally { failures: 0, max_retry: 9, seed: 1 };
        assert_eq!(verdict(tally, &ran, &RetryPolicy::asynq()), Verdict::Bury(DeadReason::Undecodable));
        assert_eq!(verdict(tally, &Ran::TooLate, &RetryPolicy::asynq()), Verdict::Bury(DeadReason::Deadline));
        assert_eq!(verdict(tally, &Ran::Interrupted, &RetryPolicy::asynq()), Verdict::Release);
    }
}
