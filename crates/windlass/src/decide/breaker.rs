//! When to stop running a kind whose runs mostly fail, and when to try again. A server asks before it claims
//! ([`Circuit::room`]) and tells what came of its runs ([`Circuit::ended`]); while the circuit is open the jobs stay in
//! line untouched. No clock: every call brings its moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verdict::Ran;
use crate::job::{ErrorClass, Monotonic, Timestamp, micros};

/// When a kind's circuit opens and closes; for [`Server::breaker`](crate::Server::breaker).
///
/// ```
/// use std::time::Duration;
/// use windlass::Breaker;
/// // Half of at least 20 runs within a minute have failed: nothing for 30 seconds, then one job to try it.
/// let breaker = Breaker::new().failure_ratio(0.5).min_calls(20).window(Duration::from_secs(60));
/// let breaker = breaker.open_for(Duration::from_secs(30)).probes(1);
/// # let _ = breaker;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    failure_ratio: f64,
    min_calls: u32,
    window: Duration,
    open_for: Duration,
    probes: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Breaker {
    /// Opens when half of at least ten runs within 60 seconds have failed, for 30 seconds; then one job at a time is
    /// tried, and the first that ends well closes it.
    pub fn new() -> Self {
        Self {
            failure_ratio: 0.5,
            min_calls: 10,
            window: Duration::from_secs(60),
            open_for: Duration::from_secs(30),
            probes: 1,
        }
    }

    /// The part of the runs (0 to 1) that must have failed. Default: 0.5.
    #[must_use]
    pub fn failure_ratio(mut self, ratio: f64) -> Self {
        self.failure_ratio = ratio;
        self
    }

    /// Stays closed while the window holds fewer runs than this, whatever came of them. Default: 10.
    #[must_use]
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// How far back runs count; in steps of a tenth of it. Default: 60 s.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How long it stays open before a job is tried. Default: 30 s.
    #[must_use]
    pub fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// How many jobs at once are tried after that, and as many have to end well before it closes. Default: 1.
    #[must_use]
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// What is wrong with these numbers, if something is.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if !(self.failure_ratio > 0.0 && self.failure_ratio <= 1.0) {
            return Some("its failure ratio is not above 0 and at most 1");
        }
        if self.min_calls == 0 || self.probes == 0 {
            return Some("it needs at least one call and one probe");
        }
        (self.window < Duration::from_millis(10) || self.open_for.is_zero())
            .then_some("its window is shorter than 10 ms, or it is open for no time")
    }
}

/// Where a circuit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Jobs run.
    Closed,
    /// No job of the kind is claimed.
    Open,
    /// A few jobs are tried.
    HalfOpen,
}

/// The breaker of one kind, or of the kinds of one handler, as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BreakerInfo {
    /// The kind, or the pattern of the kinds.
    pub kind: String,
    /// Where it is.
    pub state: BreakerState,
    /// Until when it is open.
    pub until: Option<Timestamp>,
}

impl BreakerInfo {
    pub(crate) fn new(kind: String, state: BreakerState, until: Option<Timestamp>) -> Self {
        Self { kind, state, until }
    }
}

/// What a run says about the other side: that it works, that it fails, or nothing. An error that
/// `Server::is_failure` does not count says nothing, nor does a job that was put off, cancelled, handed back, undecodable
/// or too late. One that the handler buried does: a wrong key fails every job for good, and is worth stopping for.
pub fn says(ran: &Ran) -> Option<bool> {
    use super::verdict::Then;
    match ran {
        Ran::Done => Some(true),
        Ran::Failed { counts: false, .. } | Ran::Failed { then: Then::Snooze(_), .. } => None,
        Ran::Failed { class, .. } => {
            let of_the_job = matches!(class, ErrorClass::Undecodable | ErrorClass::Deadline | ErrorClass::Cancelled);
            (!of_the_job).then_some(false)
        }
        Ran::Cancelled(_) | Ran::Interrupted | Ran::TooLate => None,
    }
}

/// The window is counted in this many steps, so that it forgets little by little.
const STEPS: usize = 10;

/// A breaker at work.
#[derive(Clone, Debug)]
pub struct Circuit {
    rules: Breaker,
    state: BreakerState,
    /// Since when. Runs that were claimed earlier say nothing about this state.
    since: Monotonic,
    /// Jobs that are being tried, and how many ended well.
    probing: u32,
    proved: u32,
    steps: [Step; STEPS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    number: i64,
    calls: u32,
    failures: u32,
}

impl Circuit {
    /// Closed.
    pub fn new(rules: Breaker) -> Self {
        let since = Monotonic(i64::MIN);
        Self { rules, state: BreakerState::Closed, since, probing: 0, proved: 0, steps: Default::default() }
    }

    /// Where it is. An open circuit is half open once its time is over.
    pub fn state(&self, now: Monotonic) -> BreakerState {
        match self.until() {
            Some(until) if now >= until => BreakerState::HalfOpen,
            _ => self.state,
        }
    }

    /// Until when it is open; none if it is not.
    pub fn until(&self) -> Option<Monotonic> {
        (self.state == BreakerState::Open).then(|| self.since.after(self.rules.open_for))
    }

    /// How many jobs may be claimed now; none: as many as there are.
    pub fn room(&mut self, now: Monotonic) -> Option<u32> {
        if self.state == BreakerState::Open && self.state(now) == BreakerState::HalfOpen {
            self.enter(BreakerState::HalfOpen, now);
        }
        match self.state {
            BreakerState::Closed => None,
            BreakerState::Open => Some(0),
            BreakerState::HalfOpen => Some(self.rules.probes.saturating_sub(self.probing)),
        }
    }

    /// Whether a job that was claimed then may still start.
    pub fn admits(&self, claimed_at: Monotonic) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => claimed_at >= self.since,
        }
    }

    /// A job was claimed.
    pub fn claimed(&mut self, claimed_at: Monotonic) {
        if self.is_probe(claimed_at) {
            self.probing += 1;
        }
    }

    /// A job that was claimed then is done with; `well` is what its run [`says`]. Answers the new state if it changed.
    pub fn ended(&mut self, now: Monotonic, claimed_at: Monotonic, well: Option<bool>) -> Option<BreakerState> {
        let probe = self.is_probe(claimed_at);
        if probe {
            self.probing = self.probing.saturating_sub(1);
        }
        let well = well?;
        match self.state {
            BreakerState::Closed if claimed_at >= self.since => self.count(now, well),
            BreakerState::HalfOpen if probe => self.proved(now, well),
            _ => None,
        }
    }

    fn is_probe(&self, claimed_at: Monotonic) -> bool {
        self.state == BreakerState::HalfOpen && claimed_at >= self.since
    }

    fn count(&mut self, now: Monotonic, well: bool) -> Option<BreakerState> {
        let length = (micros(self.rules.window) / STEPS as i64).max(1);
        let number = now.0.div_euclid(length);
        let step = &mut self.steps[number.rem_euclid(STEPS as i64) as usize];
        if step.number != number {
            *step = Step { number, calls: 0, failures: 0 };
        }
        step.calls = step.calls.saturating_add(1);
        step.failures = step.failures.saturating_add(u32::from(!well));
        let live = self.steps.iter().filter(|step| step.number > number - STEPS as i64);
        let (calls, failures) =
            live.fold((0u64, 0u64), |(c, f), step| (c + u64::from(step.calls), f + u64::from(step.failures)));
        let trips = !well
            && calls >= u64::from(self.rules.min_calls)
            && failures as f64 >= self.rules.failure_ratio * calls as f64;
        trips.then(|| self.enter(BreakerState::Open, now))
    }

    fn proved(&mut self, now: Monotonic, well: bool) -> Option<BreakerState> {
        if !well {
            return Some(self.enter(BreakerState::Open, now));
        }
        self.proved += 1;
        (self.proved >= self.rules.probes).then(|| self.enter(BreakerState::Closed, now))
    }

    fn enter(&mut self, state: BreakerState, now: Monotonic) -> BreakerState {
        (self.state, self.since) = (state, now);
        (self.probing, self.proved) = (0, 0);
        self.steps = Default::default();
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::verdict::Then;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Monotonic {
        Monotonic(seconds * 1_000_000)
    }

    fn rules() -> Breaker {
        Breaker::new().min_calls(4).window(10 * SECOND).open_for(30 * SECOND)
    }

    /// A circuit that opened at this second.
    fn opened(second: i64) -> Circuit {
        let mut circuit = Circuit::new(rules());
        for _ in 0..3 {
            assert_eq!(circuit.ended(at(second), at(second), Some(false)), None);
        }
        assert_eq!(circuit.ended(at(second), at(second), Some(false)), Some(BreakerState::Open));
        circuit
    }

    #[test]
    fn it_opens_at_the_ratio_and_not_before_enough_calls() {
        let mut circuit = opened(5);
        assert_eq!((circuit.room(at(5)), circuit.until()), (Some(0), Some(at(35))));
        let mut half = Circuit::new(rules());
        for well in [false, true, true, true] {
            assert_eq!(half.ended(at(1), at(1), Some(well)), None, "a quarter is less than half");
        }
        assert_eq!(half.ended(at(1), at(1), Some(false)), None);
        assert_eq!(half.ended(at(1), at(1), Some(false)), Some(BreakerState::Open), "three of six");
    }

    #[test]
    fn a_success_never_opens_it() {
        let mut circuit = Circuit::new(rules());
        for well in [false, false, false, true] {
            assert_eq!(circuit.ended(at(1), at(1), Some(well)), None);
        }
    }

    #[test]
    fn failures_leave_the_window() {
        let mut circuit = Circuit::new(rules());
        for second in [0, 1, 2, 20, 21, 22, 40] {
            assert_eq!(circuit.ended(at(second), at(second), Some(false)), None, "{second}");
        }
    }

    #[test]
    fn after_its_time_one_job_is_tried_and_what_comes_of_it_counts() {
        let mut circuit = opened(0);
        assert_eq!((circuit.room(at(29)), circuit.state(at(29))), (Some(0), BreakerState::Open));
        assert_eq!((circuit.state(at(30)), circuit.room(at(30))), (BreakerState::HalfOpen, Some(1)));
        circuit.claimed(at(30));
        assert_eq!(circuit.room(at(31)), Some(0), "the probe runs");
        let mut fails = circuit.clone();
        assert_eq!(fails.ended(at(31), at(30), Some(false)), Some(BreakerState::Open));
        assert_eq!(fails.until(), Some(at(61)));
        assert_eq!(circuit.ended(at(31), at(30), Some(true)), Some(BreakerState::Closed));
        assert_eq!(circuit.room(at(31)), None);
        assert_eq!(circuit.ended(at(32), at(32), Some(false)), None, "it begins to count anew");
    }

    #[test]
    fn a_probe_that_says_nothing_makes_room_for_the_next() {
        let mut circuit = opened(0);
        assert_eq!(circuit.room(at(30)), Some(1));
        circuit.claimed(at(30));
        assert_eq!(circuit.ended(at(31), at(30), None), None);
        assert_eq!(circuit.room(at(31)), Some(1));
    }

    #[test]
    fn runs_from_before_say_nothing_about_the_state_that_followed() {
        let mut circuit = opened(10);
        assert!(!circuit.admits(at(9)));
        assert_eq!(circuit.ended(at(11), at(9), Some(true)), None, "open");
        circuit.room(at(40));
        assert!(!circuit.admits(at(9)) && circuit.admits(at(40)));
        circuit.claimed(at(40));
        assert_eq!(circuit.ended(at(41), at(9), Some(true)), None, "half open");
        assert_eq!(circuit.room(at(41)), Some(0), "nor does it take the probe's place");
        assert_eq!(circuit.ended(at(42), at(40), Some(true)), Some(BreakerState::Closed));
        for _ in 0..9 {
            assert_eq!(circuit.ended(at(43), at(9), Some(false)), None, "closed again");
        }
    }

    #[test]
    fn as_many_probes_as_were_asked_for_have_to_end_well() {
        let mut circuit = Circuit::new(rules().probes(2).min_calls(1));
        circuit.ended(at(0), at(0), Some(false));
        assert_eq!(circuit.room(at(30)), Some(2));
        circuit.claimed(at(30));
        circuit.claimed(at(30));
        assert_eq!(circuit.ended(at(31), at(30), Some(true)), None);
        assert_eq!(circuit.ended(at(31), at(30), Some(true)), Some(BreakerState::Closed));
    }

    #[test]
    fn what_says_something_is_a_run_that_ended_well_or_failed() {
        let failed = |class, then, counts| says(&Ran::Failed { class, message: String::new(), then, counts });
        assert_eq!(says(&Ran::Done), Some(true));
        for class in [ErrorClass::Error, ErrorClass::Panic, ErrorClass::Timeout] {
            assert_eq!(failed(class, Then::Retry, true), Some(false));
        }
        assert_eq!(failed(ErrorClass::Buried, Then::Bury, true), Some(false));
        assert_eq!(failed(ErrorClass::Error, Then::Retry, false), None);
        assert_eq!(failed(ErrorClass::Error, Then::Snooze(SECOND), true), None);
        assert_eq!(failed(ErrorClass::Undecodable, Then::Bury, true), None);
        for ran in [Ran::Interrupted, Ran::TooLate, Ran::Cancelled("x".into())] {
            assert_eq!(says(&ran), None);
        }
    }

    #[test]
    fn numbers_that_make_no_breaker_are_found() {
        assert_eq!(Breaker::new().problem(), None);
        for bad in [
            Breaker::new().failure_ratio(0.0),
            Breaker::new().failure_ratio(1.1),
            Breaker::new().failure_ratio(f64::NAN),
            Breaker::new().min_calls(0),
            Breaker::new().probes(0),
            Breaker::new().window(Duration::ZERO),
            Breaker::new().open_for(Duration::ZERO),
        ] {
            assert!(bad.problem().is_some(), "{bad:?}");
        }
    }
}
