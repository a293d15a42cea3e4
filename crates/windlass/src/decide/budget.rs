//! How many retries a kind may cause: a part of its first runs and a floor. An outage makes every job fail, and without
//! a budget every job brings its retries on top of the usual load. What is over the budget is not lost and burns no
//! further attempt: it waits longer. After "retry budgets" of Finagle (Twitter) and Linkerd.

use std::time::Duration;

use crate::job::{Monotonic, micros};

/// The retries of a kind; for [`Server::retry_budget`](crate::Server::retry_budget).
///
/// Each first run of a job earns a part of a retry, each minute a few more; each retry costs one. With nothing left, a
/// retry waits until the minutes alone have paid for it and all those before it: 300 jobs that fail together at a floor
/// of 60 a minute come back one a second, for five minutes.
///
/// ```
/// use std::time::Duration;
/// use windlass::RetryBudget;
/// // For ten first runs one retry, and six a minute whatever runs; what is over waits at most an hour.
/// let budget = RetryBudget::new(0.1).per_minute(6).longest(Duration::from_secs(3600));
/// # let _ = budget;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    ratio: f64,
    per_minute: u32,
    longest: Duration,
}

impl RetryBudget {
    /// Retries for this part of the first runs (0.1: a tenth), and 10 a minute; the longest wait is an hour.
    pub fn new(ratio: f64) -> Self {
        Self { ratio, per_minute: 10, longest: Duration::from_secs(3600) }
    }

    /// How many retries a minute there are, whatever runs. Default: 10; at least 1.
    #[must_use]
    pub fn per_minute(mut self, retries: u32) -> Self {
        self.per_minute = retries;
        self
    }

    /// The budget makes no retry wait longer than this. Default: 1 h.
    #[must_use]
    pub fn longest(mut self, wait: Duration) -> Self {
        self.longest = wait;
        self
    }

    /// What is wrong with these numbers, if something is.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if !(self.ratio >= 0.0 && self.ratio.is_finite()) {
            return Some("its ratio is negative or no number");
        }
        (self.per_minute == 0).then_some("it has no retries a minute; what is over the budget would never run")
    }

    fn per_micro(&self) -> f64 {
        f64::from(self.per_minute) / 60e6
    }
}

/// What is left of a budget.
#[derive(Clone, Debug)]
pub struct Purse {
    rules: RetryBudget,
    /// Retries that are paid for; below zero: that have been promised in advance.
    left: f64,
    at: Monotonic,
}

impl Purse {
    /// A full one: what a minute gives.
    pub fn new(rules: RetryBudget, now: Monotonic) -> Self {
        Self { rules, left: f64::from(rules.per_minute), at: now }
    }

    /// A job has had its first run.
    pub fn first_run(&mut self, now: Monotonic) {
        self.refill(now);
        self.earn(self.rules.ratio);
    }

    /// A job is to be tried again: how long it has to wait for that at least.
    pub fn retry(&mut self, now: Monotonic) -> Duration {
        self.refill(now);
        // Bounded, so that after a long outage the budget is itself again in no more than the longest wait.
        let most_owed = self.rules.per_micro() * micros(self.rules.longest) as f64;
        self.left = (self.left - 1.0).max(-most_owed);
        if self.left >= 0.0 {
            return Duration::ZERO;
        }
        let wait = Duration::from_micros((-self.left / self.rules.per_micro()) as u64);
        wait.min(self.rules.longest)
    }

    fn refill(&mut self, now: Monotonic) {
        let passed = micros(now.since(self.at)) as f64;
        self.at = self.at.max(now);
        self.earn(passed * self.rules.per_micro());
    }

    /// What is saved is at most what a minute gives and a hundred first runs earn: a quiet day is no licence for a
    /// storm.
    fn earn(&mut self, retries: f64) {
        let most = f64::from(self.rules.per_minute) + 100.0 * self.rules.ratio;
        self.left = (self.left + retries).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Monotonic {
        Monotonic(seconds * 1_000_000)
    }

    fn near(wait: Duration, seconds: u64) -> bool {
        wait.abs_diff(Duration::from_secs(seconds)) < Duration::from_millis(1)
    }

    #[test]
    fn within_the_floor_nothing_waits_and_beyond_it_one_after_the_other() {
        let mut purse = Purse::new(RetryBudget::new(0.0).per_minute(60), at(0));
        assert!((0..60).all(|_| purse.retry(at(0)).is_zero()));
        let waits: Vec<_> = (0..300).map(|_| purse.retry(at(0))).collect();
        assert!(waits.iter().zip(1..).all(|(wait, seconds)| near(*wait, seconds)), "{waits:?}");
    }

    #[test]
    fn first_runs_pay_for_a_part_of_themselves() {
        let mut purse = Purse::new(RetryBudget::new(0.1).per_minute(1), at(0));
        purse.retry(at(0));
        (0..50).for_each(|_| purse.first_run(at(0)));
        assert!((0..4).all(|_| purse.retry(at(0)).is_zero()));
        let over: Vec<_> = (0..2).map(|_| purse.retry(at(0)).as_secs()).collect();
        assert!(over[1] >= 59, "of 50 first runs five may be tried again: {over:?}");
    }

    #[test]
    fn what_was_promised_is_paid_off_by_time() {
        let mut purse = Purse::new(RetryBudget::new(0.0).per_minute(60), at(0));
        (0..70).for_each(|_| assert!(purse.retry(at(0)) <= 10 * SECOND));
        assert!(near(purse.retry(at(5)), 6), "five of the ten are paid for");
        assert!(purse.retry(at(60)).is_zero());
    }

    #[test]
    fn a_quiet_day_saves_no_more_than_a_minute() {
        let mut purse = Purse::new(RetryBudget::new(0.0).per_minute(6), at(0));
        assert!((0..6).all(|_| purse.retry(at(86_400)).is_zero()));
        assert!(near(purse.retry(at(86_400)), 10));
    }

    #[test]
    fn nothing_waits_longer_than_the_longest_wait_and_the_debt_ends_with_it() {
        let mut purse = Purse::new(RetryBudget::new(0.0).per_minute(60).longest(30 * SECOND), at(0));
        (0..100_000).for_each(|_| assert!(purse.retry(at(0)) <= 30 * SECOND));
        assert!(purse.retry(at(32)).is_zero());
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_earns_nothing() {
        let mut purse = Purse::new(RetryBudget::new(0.0).per_minute(1), at(100));
        purse.retry(at(100));
        assert!(!purse.retry(at(10)).is_zero());
        assert!(purse.retry(at(11)) > 60 * SECOND);
    }

    #[test]
    fn numbers_that_make_no_budget_are_found() {
        assert_eq!(RetryBudget::new(0.1).problem(), None);
        for bad in [RetryBudget::new(-0.1), RetryBudget::new(f64::NAN), RetryBudget::new(0.1).per_minute(0)] {
            assert!(bad.problem().is_some(), "{bad:?}");
        }
    }
}
