//! Repeats an operation of this process until it works, by the retry policies that jobs have. Nothing is written down:
//! what must outlive the process is a job.

use std::{fmt, future::Future, future::IntoFuture, pin::Pin, time::Duration};

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{
    decide::{retry::RetryPolicy, verdict::Then},
    env::Env,
    job::DEFAULTS,
    server::outcome::{BoxError, JobError},
};

/// Calls `operation` until it answers `Ok`, and waits between the attempts as the policy says.
///
/// Any error is tried again, as in a handler; [`ResultExt`](crate::ResultExt) says otherwise: `or_bury` marks one that
/// will never work, `or_retry_after` one with a wait of its own, `or_snooze` one that is no failed attempt. So does
/// [`permanent_if`](Retry::permanent_if). Dropping the future ends it all at once.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use windlass::{ResultExt, RetryPolicy, retry};
///
/// # let mut calls = 0;
/// let page = retry(RetryPolicy::exponential(Duration::from_millis(1)), || {
/// #   calls += 1;
/// #   let answer = if calls < 3 { Err("connection refused") } else { Ok("<html>") };
///     async move { answer }
/// })
/// .attempts(5)
/// .await?;
/// assert_eq!(page, "<html>");
///
/// let error = retry(RetryPolicy::default(), || async { "x".parse::<u32>().or_bury() }).await.unwrap_err();
/// assert_eq!(error.attempts(), 1);
/// # Ok(())
/// # }
/// ```
pub fn retry<'a, F, Fut, T, E>(policy: RetryPolicy, operation: F) -> Retry<'a, F, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    Retry {
        policy,
        operation,
        attempts: DEFAULTS.max_retry.saturating_add(1),
        within: None,
        permanent: None,
        parent: CancellationToken::new(),
        env: Env::system(),
    }
}

type Judge<'a, E> = Box<dyn Fn(&E) -> bool + Send + 'a>;

/// An operation that is to be repeated; await it. See [`retry`].
#[must_use = "nothing happens until it is awaited"]
pub struct Retry<'a, F, E> {
    policy: RetryPolicy,
    operation: F,
    attempts: u32,
    within: Option<Duration>,
    permanent: Option<Judge<'a, E>>,
    parent: CancellationToken,
    env: Env,
}

/// Why an operation was not repeated any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GaveUp {
    /// Its error was permanent.
    Permanent,
    /// It failed as often as it was allowed to.
    Attempts,
    /// The next attempt would have begun after its time.
    Time,
    /// The token was cancelled.
    Cancelled,
}

/// An operation did not work. Its last error is the [source](std::error::Error::source), so a handler that returns this
/// with `?` is buried by a permanent one.
#[derive(Debug, Error)]
#[error("{}", self.text())]
pub struct RetryError {
    why: GaveUp,
    attempts: u32,
    #[source]
    last: Option<BoxError>,
}

impl RetryError {
    /// Why it was given up.
    pub fn why(&self) -> GaveUp {
        self.why
    }

    /// How many attempts were made, those that were put off included.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The error of the last attempt; none when it was cancelled before one had ended.
    pub fn last(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.last.as_deref()
    }

    /// The error of the last attempt, to keep.
    pub fn into_last(self) -> Option<BoxError> {
        self.last
    }

    fn text(&self) -> String {
        let times = if self.attempts == 1 { "attempt" } else { "attempts" };
        let why = match self.why {
            GaveUp::Permanent => "with a permanent error",
            GaveUp::Attempts => "which is as many as it has",
            GaveUp::Time => "because its time is over",
            GaveUp::Cancelled => "because it was cancelled",
        };
        format!("gave up after {} {times}, {why}", self.attempts)
    }
}

impl<'a, F, E> Retry<'a, F, E> {
    /// The most attempts, the first included (at least one). Default: 26, as a job has.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// No attempt begins later than this after the first one; a wait that would last longer is not begun. An attempt
    /// that is under way is not cut short. Default: no limit.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// Says which errors will never go away: they end it at once. Default: those that are marked with
    /// [`or_bury`](crate::ResultExt::or_bury).
    pub fn permanent_if(mut self, judge: impl Fn(&E) -> bool + Send + 'a) -> Self {
        self.permanent = Some(Box::new(judge));
        self
    }

    /// Gives up when this token is cancelled: ends a wait, and drops an attempt at its next await.
    pub fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.parent = token;
        self
    }

    /// Other clocks and chance, for tests.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }
}

impl<'a, F, Fut, T, E> IntoFuture for Retry<'a, F, E>
where
    F: FnMut() -> Fut + Send + 'a,
    Fut: Future<Output = Result<T, E>> + Send + 'a,
    T: Send + 'a,
    E: Into<BoxError> + Send + 'a,
{
    type Output = Result<T, RetryError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<F, Fut, T, E> Retry<'_, F, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    async fn run(mut self) -> Result<T, RetryError> {
        let (began, seed, token) = (self.env.monotonic(), self.env.random(), self.parent.clone());
        let (mut attempts, mut failures, mut last) = (0u32, 0u32, None);
        loop {
            let Some(ended) = token.run_until_cancelled((self.operation)()).await else {
                return Err(RetryError { why: GaveUp::Cancelled, attempts, last });
            };
            attempts = attempts.saturating_add(1);
            let error = match ended {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let permanent = self.permanent.as_ref().is_some_and(|judge| judge(&error));
            let JobError { then, source, .. } = error.into().into();
            let then = if permanent { Then::Bury } else { then };
            failures = failures.saturating_add(u32::from(!matches!(then, Then::Snooze(_))));
            let step = self.step(then, failures, self.env.monotonic().since(began), seed);
            last = Some(source);
            let wait = match step {
                Ok(wait) => wait,
                Err(why) => return Err(RetryError { why, attempts, last }),
            };
            if token.run_until_cancelled(self.env.sleep(wait)).await.is_none() {
                return Err(RetryError { why: GaveUp::Cancelled, attempts, last });
            }
        }
    }

    /// How long to wait before the next attempt, or why there is none.
    fn step(&self, then: Then, failures: u32, elapsed: Duration, seed: u64) -> Result<Duration, GaveUp> {
        let wait = match then {
            Then::Bury => return Err(GaveUp::Permanent),
            Then::Snooze(wait) => wait,
            _ if failures >= self.attempts => return Err(GaveUp::Attempts),
            Then::RetryAfter(wait) => wait,
            Then::Retry => self.policy.delay(failures, seed),
        };
        if self.within.is_some_and(|within| elapsed.saturating_add(wait) > within) {
            return Err(GaveUp::Time);
        }
        Ok(wait)
    }
}

impl<F, E> fmt::Debug for Retry<'_, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Retry");
        shown.field("attempts", &self.attempts).field("within", &self.within).finish_non_exhaustive()
    }
}
