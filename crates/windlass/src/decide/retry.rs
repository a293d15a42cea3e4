//! How long a failed job waits before its next attempt.
//! Every formula is a pure function of the number of failures and a seed, and saturates at any number.

use std::{fmt, sync::Arc, time::Duration};

use super::chance::mix;

/// How long to wait after the n-th failure. See each constructor for its formula.
///
/// ```
/// use std::time::Duration;
/// use windlass::RetryPolicy;
/// let policy = RetryPolicy::doubling(Duration::from_secs(1));
/// assert_eq!(policy.delay(1, 0), Duration::from_secs(1));
/// assert_eq!(policy.delay(3, 0), Duration::from_secs(4));
/// ```
#[derive(Clone, Default)]
pub struct RetryPolicy {
    shape: Shape,
    cap: Option<Duration>,
}

type Custom = Arc<dyn Fn(u32, u64) -> Duration + Send + Sync>;

#[derive(Clone, Default)]
enum Shape {
    #[default]
    Asynq,
    Exponential {
        base: Duration,
        jitter: Jitter,
    },
    Linear(Duration),
    Fixed(Duration),
    Custom(Custom),
}

/// How chance spreads the waits of an exponential policy, so that jobs that failed together do not come back together.
/// After "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Jitter {
    /// `base * 2^(n-1)`, always the same.
    None,
    /// Anything from zero to `base * 2^(n-1)`.
    #[default]
    Full,
    /// Anything from `base` to three times the wait before, beginning with `base`. The waits before are drawn again
    /// from the job's seed, so nothing has to be stored.
    Decorrelated,
}

impl RetryPolicy {
    /// Asynq's (and Sidekiq's) formula, the default: `n^4 + 15 + rand(30) * (n + 1)` seconds, where n counts the
    /// failures before this one.
    pub fn asynq() -> Self {
        Self::default()
    }

    /// `base`, twice that, four times that, .., spread by full jitter and at most an hour.
    pub fn exponential(base: Duration) -> Self {
        Self { shape: Shape::Exponential { base, jitter: Jitter::Full }, cap: Some(Duration::from_secs(3600)) }
    }

    /// `base`, twice that, four times that, .. exactly: 1, 2, 4, 8 seconds for a base of one second; at most an hour.
    pub fn doubling(base: Duration) -> Self {
        Self::exponential(base).jitter(Jitter::None)
    }

    /// `step`, 2 * `step`, 3 * `step`, ..
    pub fn linear(step: Duration) -> Self {
        Self { shape: Shape::Linear(step), cap: None }
    }

    /// Always the same wait.
    pub fn fixed(wait: Duration) -> Self {
        Self { shape: Shape::Fixed(wait), cap: None }
    }

    /// The caller's function of the number of failures (1 at the first) and a random number.
    pub fn custom(delay: impl Fn(u32, u64) -> Duration + Send + Sync + 'static) -> Self {
        Self { shape: Shape::Custom(Arc::new(delay)), cap: None }
    }

    /// The longest wait.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = Some(cap);
        self
    }

    /// The jitter of an exponential policy; of the others it changes nothing.
    #[must_use]
    pub fn jitter(mut self, chosen: Jitter) -> Self {
        if let Shape::Exponential { jitter, .. } = &mut self.shape {
            *jitter = chosen;
        }
        self
    }

    /// The wait after the `failures`-th failure (1 at the first). The same seed gives the same wait.
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let cap = self.cap.unwrap_or(MAX_DELAY).min(MAX_DELAY);
        let failures = failures.max(1);
        let random = mix(seed ^ mix(u64::from(failures)));
        let delay = match &self.shape {
            Shape::Asynq => asynq(failures - 1, random),
            Shape::Exponential { base, jitter: Jitter::None } => double(*base, failures - 1),
            Shape::Exponential { base, jitter: Jitter::Full } => fraction(double(*base, failures - 1).min(cap), random),
            Shape::Exponential { base, jitter: Jitter::Decorrelated } => decorrelated(*base, cap, failures, seed),
            Shape::Linear(step) => step.saturating_mul(failures),
            Shape::Fixed(wait) => *wait,
            Shape::Custom(delay) => delay(failures, random),
        };
        delay.min(cap)
    }
}

/// No wait is longer than a hundred years: far enough for "never", near enough for every store's clock.
const MAX_DELAY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// `n^4 + 15 + rand(30) * (n + 1)` seconds (hibiken/asynq, `DefaultRetryDelayFunc`).
fn asynq(retried: u32, random: u64) -> Duration {
    let n = u64::from(retried);
    let power = n.saturating_mul(n).saturating_mul(n).saturating_mul(n);
    Duration::from_secs(power.saturating_add(15).saturating_add((random % 30).saturating_mul(n + 1)))
}

fn double(base: Duration, times: u32) -> Duration {
    let factor = 1u32.checked_shl(times).filter(|_| times < 31);
    base.saturating_mul(factor.unwrap_or(u32::MAX))
}

/// A part of `whole` between none and all of it.
fn fraction(whole: Duration, random: u64) -> Duration {
    whole.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

fn decorrelated(base: Duration, cap: Duration, failures: u32, seed: u64) -> Duration {
    // The chain forgets its beginning: its last 64 draws are as good as all of them, and bounded.
    let first = failures.saturating_sub(64);
    let mut wait = base.min(cap);
    for step in first..failures {
        let high = wait.saturating_mul(3).min(cap);
        wait = base.min(cap) + fraction(high.saturating_sub(base), mix(seed ^ mix(u64::from(step) + 1)));
    }
    wait
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape: &dyn fmt::Debug = match &self.shape {
            Shape::Asynq => &"Asynq",
            Shape::Exponential { base, jitter } => &format!("Exponential({base:?}, {jitter:?})"),
            Shape::Linear(step) => &format!("Linear({step:?})"),
            Shape::Fixed(wait) => &format!("Fixed({wait:?})"),
            Shape::Custom(_) => &"Custom",
        };
        f.debug_struct("RetryPolicy").field("shape", shape).field("cap", &self.cap).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(policy: &RetryPolicy) -> Vec<u64> {
        (1..=5).map(|failures| policy.delay(failures, 7).as_secs()).collect()
    }

    #[test]
    fn plain_policies_follow_their_formulas() {
        assert_eq!(seconds(&RetryPolicy::doubling(SECOND)), [1, 2, 4, 8, 16]);
        assert_eq!(seconds(&RetryPolicy::linear(SECOND)), [1, 2, 3, 4, 5]);
        assert_eq!(seconds(&RetryPolicy::fixed(SECOND)), [1; 5]);
        let squares = RetryPolicy::custom(|failures, _| SECOND * failures * failures);
        assert_eq!(seconds(&squares), [1, 4, 9, 16, 25]);
        assert_eq!(seconds(&squares.cap(5 * SECOND)), [1, 4, 5, 5, 5]);
    }

    #[test]
    fn asynqs_formula_keeps_within_its_bounds() {
        let policy = RetryPolicy::asynq();
        for failures in 1..=25u32 {
            for seed in 0..200 {
                let n = u64::from(failures - 1);
                let delay = policy.delay(failures, seed).as_secs();
                let low = n.pow(4) + 15;
                assert!((low..=low + 29 * (n + 1)).contains(&delay), "failure {failures}: {delay}");
            }
        }
    }

    #[test]
    fn full_jitter_spreads_evenly_up_to_the_doubled_base() {
        let policy = RetryPolicy::exponential(SECOND);
        let waits: Vec<f64> = (0..4000).map(|seed| policy.delay(4, seed).as_secs_f64()).collect();
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        assert!((3.8..4.2).contains(&mean), "mean of rand(0, 8) was {mean}");
        assert!(waits.iter().all(|wait| (0.0..=8.0).contains(wait)));
    }

    #[test]
    fn decorrelated_jitter_stays_between_base_and_cap() {
        let policy = RetryPolicy::exponential(SECOND).jitter(Jitter::Decorrelated).cap(60 * SECOND);
        for seed in 0..500 {
            for failures in [1, 2, 3, 10, 100, u32::MAX] {
                let wait = policy.delay(failures, seed);
                assert!(wait >= SECOND && wait <= 60 * SECOND, "{failures}: {wait:?}");
            }
        }
        let distinct: std::collections::BTreeSet<_> = (0..100).map(|seed| policy.delay(3, seed)).collect();
        assert!(distinct.len() > 90);
    }

    #[test]
    fn no_policy_overflows_at_any_attempt() {
        let huge = Duration::MAX;
        for policy in [
            RetryPolicy::asynq(),
            RetryPolicy::exponential(huge),
            RetryPolicy::doubling(huge),
            RetryPolicy::exponential(huge).jitter(Jitter::Decorrelated).cap(huge),
            RetryPolicy::linear(huge),
            RetryPolicy::fixed(huge),
        ] {
            for failures in [0, 1, 31, 32, 33, 1000, u32::MAX] {
                assert!(policy.delay(failures, u64::MAX) <= MAX_DELAY);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_wait() {
        let policy = RetryPolicy::exponential(SECOND);
        assert_eq!(policy.delay(3, 9), policy.delay(3, 9));
        assert_ne!(policy.delay(3, 9), policy.delay(3, 10));
    }
}
