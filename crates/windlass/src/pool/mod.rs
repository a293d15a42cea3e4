//! An in-process pool of workers for futures and closures: bounded, with a handle for each job. For programs that need
//! no store: nothing is written down, nothing is repeated, and what has not run when the process ends is gone.
//! `crew.rs` is the line and the workers, `work.rs` one job, `results.rs` the stream of results.

mod crew;
mod results;
mod work;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use thiserror::Error;
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use self::results::{Finished, Results, Submitter};
use self::{crew::Crew, work::Limit};
use crate::env::Env;

/// Runs futures and closures on a fixed number of workers, with a bounded line in front of them.
///
/// - Each job has a [`Handle`]. Dropping it neither stops nor delays the job.
/// - A panic is the result of its job ([`RunError::Panicked`]); the worker goes on.
/// - A job that runs out of its [`timeout`](Self::timeout) is dropped at its next await, and its worker takes the next
///   one at once.
/// - [`drain`](Self::drain) lets everything end that was submitted, [`abort`](Self::abort) and a parent's
///   [token](Self::cancel_on) drop it; afterwards submitting is an error.
/// - Dropping the pool is a drain that nobody waits for.
/// - The workers live in the tokio runtime of the first call. When it ends, the pool is aborted: a pool in a `static` is
///   no good for a second runtime, as each `#[tokio::test]` is one.
///
/// Jobs are polled on the workers' tasks, so one that never awaits keeps a thread of the runtime busy: for such work
/// there is [`submit_blocking`](Self::submit_blocking).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), windlass::pool::SubmitError> {
/// use windlass::WorkerPool;
/// let pool = WorkerPool::new(5).capacity(100);
/// let mut handles = Vec::new();
/// for n in 0..20_u64 {
///     handles.push(pool.submit(async move { n * n }).await?);
/// }
/// let mut sum = 0;
/// for handle in handles {
///     sum += handle.await.expect("it neither panics nor times out");
/// }
/// assert_eq!(sum, 2470);
/// pool.drain().await;
/// assert!(pool.submit(async {}).await.is_err());
/// # Ok(())
/// # }
/// ```
#[must_use = "a pool does nothing until a job is submitted"]
pub struct WorkerPool {
    setup: Setup,
    /// Made by the first call, so that a pool can be set up outside of a runtime.
    gate: OnceLock<Gate>,
}

struct Setup {
    workers: usize,
    capacity: usize,
    timeout: Option<Duration>,
    parent: Option<CancellationToken>,
    env: Env,
}

/// The way in, for the pool and for the submitters of its streams.
#[derive(Clone)]
struct Gate {
    crew: Arc<Crew>,
    timeout: Option<Duration>,
    env: Env,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many jobs are waiting as the pool has room for.
    #[error("the pool is full; wait for room with submit(), or give it more with WorkerPool::capacity")]
    Full,
    /// The pool was drained or aborted, its parent was cancelled, or its runtime has ended.
    #[error("the pool is stopped, or the runtime of its workers has ended; it takes no more jobs, make a new one")]
    Stopped,
}

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RunError {
    /// It ran longer than its timeout, and was dropped.
    #[error("the job ran longer than its timeout of {0:?}")]
    TimedOut(Duration),
    /// It panicked, with this message.
    #[error("the job panicked: {0}")]
    Panicked(String),
    /// The pool was aborted, its parent was cancelled, or the runtime ended, before the job did.
    #[error("the pool was stopped before the job ended")]
    Aborted,
}

/// A job's result to come. Dropping it changes nothing for the job.
#[derive(Debug)]
pub struct Handle<T>(oneshot::Receiver<Result<T, RunError>>);

impl<T> Future for Handle<T> {
    type Output = Result<T, RunError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|sent| sent.unwrap_or(Err(RunError::Aborted)))
    }
}

/// How many jobs may wait in a pool that says nothing else.
const CAPACITY: usize = 1024;

impl WorkerPool {
    /// A pool that runs this many jobs at a time (at least one).
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        let setup = Setup { workers, capacity: CAPACITY, timeout: None, parent: None, env: Env::system() };
        Self { setup, gate: OnceLock::new() }
    }

    /// How many jobs may wait for a worker, beside those that run (at least one). Default: 1024.
    pub fn capacity(mut self, jobs: usize) -> Self {
        self.setup.capacity = jobs.max(1);
        self
    }

    /// The longest run of a job, from the moment its worker takes it. Default: none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.setup.timeout = Some(timeout);
        self
    }

    /// [Aborts](Self::abort) the pool when this token is cancelled.
    pub fn cancel_on(mut self, parent: CancellationToken) -> Self {
        self.setup.parent = Some(parent);
        self
    }

    /// Other clocks, for tests.
    pub fn env(mut self, env: Env) -> Self {
        self.setup.env = env;
        self
    }

    /// Hands over a job; waits while the pool is full. Dropping this future before it resolves hands over nothing.
    ///
    /// # Errors
    /// [`SubmitError::Stopped`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, as everything that starts work does.
    pub async fn submit<F>(&self, job: F) -> Result<Handle<F::Output>, SubmitError>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let gate = self.gate();
        gate.crew.room().await?;
        gate.enter(job, gate.timeout)
    }

    /// Hands over a job with a timeout of its own, instead of the pool's.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_within<F>(&self, timeout: Duration, job: F) -> Result<Handle<F::Output>, SubmitError>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let gate = self.gate();
        gate.crew.room().await?;
        gate.enter(job, Some(timeout))
    }

    /// Hands over a job if there is room now.
    ///
    /// # Errors
    /// [`SubmitError::Full`] or [`SubmitError::Stopped`]; the job is dropped.
    pub fn try_submit<F>(&self, job: F) -> Result<Handle<F::Output>, SubmitError>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let gate = self.gate();
        gate.crew.room_now()?;
        gate.enter(job, gate.timeout)
    }

    /// Hands over a closure that computes or blocks. It runs on tokio's threads for blocking calls, and takes a worker
    /// while it does.
    ///
    /// No thread can be stopped from outside. At a timeout or an abort the worker is free at once, and the closure goes
    /// on to its end, which nobody hears of (one that waits for its thread never begins). Give a long one a
    /// [`CancellationToken`] to look at.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_blocking<T, F>(&self, closure: F) -> Result<Handle<T>, SubmitError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.submit(async move {
            match AbortOnDropHandle::new(tokio::task::spawn_blocking(closure)).await {
                Ok(value) => value,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime ends, and this job with it.
                    Err(_) => std::future::pending().await,
                },
            }
        })
        .await
    }

    /// A stream of results in the order in which jobs end, for those who would rather read than keep handles: of the
    /// jobs that are submitted through its [`Submitter`].
    ///
    /// No job ever waits for the reader. The stream keeps `limit` results (at least one); when they are more, the
    /// oldest are dropped, and [`Results::missed`] says how many. `usize::MAX` keeps all.
    pub fn results<T: Send + 'static>(&self, limit: usize) -> (Submitter<T>, Results<T>) {
        results::channel(self.gate().clone(), limit)
    }

    /// Takes no more jobs, and returns when all that were submitted have ended.
    pub async fn drain(&self) {
        let crew = &self.gate().crew;
        crew.close();
        crew.ended().await;
    }

    /// Takes no more jobs, drops those that wait and, at their next await, those that run; returns when no worker runs
    /// any more. Their handles answer [`RunError::Aborted`].
    pub async fn abort(&self) {
        let crew = &self.gate().crew;
        crew.abort();
        crew.ended().await;
    }

    fn gate(&self) -> &Gate {
        self.gate.get_or_init(|| {
            let Setup { workers, capacity, timeout, parent, env } = &self.setup;
            let crew = Crew::start(*workers, *capacity, parent.as_ref(), env);
            Gate { crew, timeout: *timeout, env: env.clone() }
        })
    }
}

impl Gate {
    /// Puts a job in line, on a place that [`Crew::room`] has given.
    fn enter<F>(&self, job: F, timeout: Option<Duration>) -> Result<Handle<F::Output>, SubmitError>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        // It fails when nobody waits for the result.
        let reply = move |ended| drop(sender.send(ended));
        match self.crew.push(work::prepare(job, self.limit(timeout), reply)) {
            Ok(()) => Ok(Handle(receiver)),
            Err(refused) => {
                work::discard(refused);
                Err(SubmitError::Stopped)
            }
        }
    }

    fn limit(&self, timeout: Option<Duration>) -> Option<Limit> {
        timeout.map(|timeout| Limit { timeout, env: self.env.clone() })
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.get() {
            gate.crew.close();
        }
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { workers, capacity, timeout, .. } = &self.setup;
        let mut shown = f.debug_struct("WorkerPool");
        shown.field("workers", workers).field("capacity", capacity).field("timeout", timeout).finish_non_exhaustive()
    }
}
