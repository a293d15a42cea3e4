//! One job of a pool on its way: a future that answers exactly once, however it ends. The answer is a value, a timeout
//! or a panic; and when the job is dropped before it ended, that it was aborted.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt;

use super::RunError;
use crate::env::{BoxFuture, Env};

/// A timeout and the clock it goes by.
pub(super) struct Limit {
    pub(super) timeout: Duration,
    pub(super) env: Env,
}

/// The job as a worker polls it. One box; a timer only for a job that has a timeout and waits.
pub(super) fn prepare<F, R>(job: F, limit: Option<Limit>, reply: R) -> BoxFuture<()>
where
    F: Future<Output: Send + 'static> + Send + 'static,
    R: FnOnce(Result<F::Output, RunError>) + Send + 'static,
{
    let reply = Reply::new(reply);
    match limit {
        None => Box::pin(AssertUnwindSafe(job).catch_unwind().map(|ended| reply.send(ended.map_err(panicked)))),
        Some(limit) => Box::pin(async move {
            let ended = within(limit, job).await;
            reply.send(ended);
        }),
    }
}

async fn within<F: Future>(limit: Limit, job: F) -> Result<F::Output, RunError> {
    let Limit { timeout, env } = limit;
    let began = env.monotonic();
    let mut job = pin!(AssertUnwindSafe(job).catch_unwind());
    let first = std::future::poll_fn(|cx| Poll::Ready(job.as_mut().poll(cx))).await;
    if let Poll::Ready(ended) = first {
        return ended.map_err(panicked);
    }
    // Counted from the start: the first poll may have taken long.
    let left = timeout.saturating_sub(env.monotonic().since(began));
    tokio::select! {
        biased;
        ended = job => ended.map_err(panicked),
        () = env.sleep(left) => Err(RunError::TimedOut(timeout)),
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> RunError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    RunError::Panicked(text.unwrap_or("no message").to_owned())
}

/// The right to answer for a job.
struct Reply<T, R: FnOnce(Result<T, RunError>)> {
    to: Option<R>,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T, R: FnOnce(Result<T, RunError>)> Reply<T, R> {
    fn new(to: R) -> Self {
        Self { to: Some(to), of: std::marker::PhantomData }
    }

    fn send(mut self, ended: Result<T, RunError>) {
        if let Some(to) = self.to.take() {
            to(ended);
        }
    }
}

impl<T, R: FnOnce(Result<T, RunError>)> Drop for Reply<T, R> {
    fn drop(&mut self) {
        let Some(to) = self.to.take() else { return };
        // What a job does is caught where it is polled; what is left is a panic while its remains are dropped.
        to(Err(if std::thread::panicking() {
            RunError::Panicked("while it was dropped".into())
        } else {
            RunError::Aborted
        }));
    }
}

/// Polls a job. Ready once nothing more will come of it: what its remains do when they are dropped must not take the
/// worker along.
pub(super) fn poll(job: &mut BoxFuture<()>, cx: &mut std::task::Context<'_>) -> Poll<()> {
    let polled = std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(job).poll(cx)));
    polled.unwrap_or(Poll::Ready(()))
}

/// Drops a job or its remains; a panic on the way has told the job's handle.
pub(super) fn discard(job: BoxFuture<()>) {
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(job)));
}
