//! The results of some jobs of a pool, in the order in which they end. Jobs never wait for the reader: beyond a limit
//! the oldest results are dropped and counted.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::Stream;
use parking_lot::Mutex;

use super::{Gate, RunError, SubmitError, work};

/// One result of a [`Results`] stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished<T> {
    /// The number that [`Submitter::submit`] answered.
    pub number: u64,
    /// What came of the job.
    pub result: Result<T, RunError>,
}

struct Shared<T> {
    kept: Mutex<Kept<T>>,
    submitted: AtomicU64,
}

struct Kept<T> {
    results: VecDeque<Finished<T>>,
    limit: usize,
    missed: u64,
    /// Submitters and jobs from which results may still come.
    sources: usize,
    /// Jobs that the pool did not take; what they say when they are dropped is no result.
    refused: Vec<u64>,
    reader: Reader,
}

enum Reader {
    Busy,
    Waits(Waker),
    Gone,
}

pub(super) fn channel<T: Send + 'static>(gate: Gate, limit: usize) -> (Submitter<T>, Results<T>) {
    let kept = Kept {
        results: VecDeque::new(),
        limit: limit.max(1),
        missed: 0,
        sources: 0,
        refused: Vec::new(),
        reader: Reader::Busy,
    };
    let shared = Arc::new(Shared { kept: Mutex::new(kept), submitted: AtomicU64::new(0) });
    (Submitter { gate, source: Source::new(&shared) }, Results(shared))
}

/// Submits jobs whose results go into a [`Results`] stream. Clones submit into the same stream.
#[derive(Clone)]
pub struct Submitter<T> {
    gate: Gate,
    source: Source<T>,
}

impl<T: Send + 'static> Submitter<T> {
    /// Hands over a job; waits while the pool is full, and never for the reader. Answers the job's number: 0, 1, 2, ..
    ///
    /// # Errors
    /// [`SubmitError::Stopped`].
    pub async fn submit<F>(&self, job: F) -> Result<u64, SubmitError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.gate.crew.room().await?;
        self.enter(job)
    }

    /// Hands over a job if there is room now.
    ///
    /// # Errors
    /// [`SubmitError::Full`] or [`SubmitError::Stopped`]; the job is dropped.
    pub fn try_submit<F>(&self, job: F) -> Result<u64, SubmitError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.gate.crew.room_now()?;
        self.enter(job)
    }

    fn enter<F>(&self, job: F) -> Result<u64, SubmitError>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let source = self.source.clone();
        let number = source.0.submitted.fetch_add(1, Ordering::Relaxed);
        let reply = move |result| source.put(Finished { number, result });
        match self.gate.crew.push(work::prepare(job, self.gate.limit(self.gate.timeout), reply)) {
            Ok(()) => Ok(number),
            Err(refused) => {
                self.source.0.kept.lock().refused.push(number);
                work::discard(refused);
                Err(SubmitError::Stopped)
            }
        }
    }
}

impl<T> fmt::Debug for Submitter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Submitter")
    }
}

/// Something from which results may still come; counted, so that the stream knows its end.
struct Source<T>(Arc<Shared<T>>);

impl<T> Source<T> {
    fn new(shared: &Arc<Shared<T>>) -> Self {
        shared.kept.lock().sources += 1;
        Self(shared.clone())
    }

    fn put(&self, result: Finished<T>) {
        let mut kept = self.0.kept.lock();
        let refused = kept.refused.iter().position(|number| *number == result.number);
        if let Some(place) = refused {
            kept.refused.swap_remove(place);
        }
        if refused.is_some() || matches!(kept.reader, Reader::Gone) {
            // A result's own drop may come back here.
            drop(kept);
            return;
        }
        let too_old = if kept.results.len() >= kept.limit { kept.results.pop_front() } else { None };
        kept.missed += u64::from(too_old.is_some());
        kept.results.push_back(result);
        let reader = kept.take_waiting();
        // So may what a waker does.
        drop(kept);
        reader.into_iter().for_each(Waker::wake);
        drop(too_old);
    }
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl<T> Drop for Source<T> {
    fn drop(&mut self) {
        let mut kept = self.0.kept.lock();
        kept.sources -= 1;
        let reader = if kept.sources == 0 { kept.take_waiting() } else { None };
        drop(kept);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl<T> Kept<T> {
    fn take_waiting(&mut self) -> Option<Waker> {
        match std::mem::replace(&mut self.reader, Reader::Busy) {
            Reader::Waits(waker) => Some(waker),
            other => {
                self.reader = other;
                None
            }
        }
    }
}

/// Results in the order in which their jobs end; see [`WorkerPool::results`](super::WorkerPool::results). It ends once
/// every submitter is dropped and every job has ended. Dropping it stops nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), windlass::pool::SubmitError> {
/// let pool = windlass::WorkerPool::new(2);
/// let (jobs, mut results) = pool.results(1000);
/// for n in 0..3_u32 {
///     jobs.submit(async move { 10 * n }).await?;
/// }
/// drop(jobs);
/// let mut sum = 0;
/// while let Some(finished) = results.next().await {
///     sum += finished.result.expect("it neither panics nor times out");
/// }
/// assert_eq!((sum, results.missed()), (30, 0));
/// # Ok(())
/// # }
/// ```
pub struct Results<T>(Arc<Shared<T>>);

impl<T> Results<T> {
    /// The next result; none when there will be no more. Dropping this future loses nothing.
    pub async fn next(&mut self) -> Option<Finished<T>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// How many results were dropped because nobody had read them in time.
    pub fn missed(&self) -> u64 {
        self.0.kept.lock().missed
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Finished<T>>> {
        let mut kept = self.0.kept.lock();
        match kept.results.pop_front() {
            Some(result) => Poll::Ready(Some(result)),
            None if kept.sources == 0 => Poll::Ready(None),
            None => {
                kept.reader = Reader::Waits(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Stream for Results<T> {
    type Item = Finished<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Finished<T>>> {
        self.poll(cx)
    }
}

impl<T> Drop for Results<T> {
    fn drop(&mut self) {
        let mut kept = self.0.kept.lock();
        kept.reader = Reader::Gone;
        let unread = std::mem::take(&mut kept.results);
        drop(kept);
        drop(unread);
    }
}

impl<T> fmt::Debug for Results<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.0.kept.lock();
        f.debug_struct("Results").field("waiting", &kept.results.len()).field("missed", &kept.missed).finish()
    }
}
