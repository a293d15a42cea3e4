//! Enqueues as many jobs as a stream has, in bounded memory: what is ready travels together, and nothing waits for more
//! to come.

use std::{collections::VecDeque, pin::Pin};

use futures_util::{FutureExt, Stream, StreamExt, stream};

use super::{BULK, Client, Enqueue};
use crate::{error::Error, job::NewJob, store::Enqueued};

/// The most payload that travels together. Beside the count, since a thousand payloads can be a gigabyte.
const BULK_BYTES: usize = 8 * 1024 * 1024;

impl Client {
    /// Enqueues the jobs of a stream and answers a stream with the answer for each, in order. At most a thousand jobs,
    /// or a little over 8 MiB of payloads, are under way at a time, and the source is asked for more only when the
    /// answers are read: a slow reader slows the source, and a stream may be endless.
    ///
    /// The first error is the last item. What was answered before it is in the store; of the jobs that travelled with
    /// the failing ones, none is (on SQL stores, unless the store's answer was lost on its way). Jobs that the source
    /// gave after a refused one are not sent.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), windlass::Error> {
    /// use futures_util::{StreamExt, TryStreamExt, stream};
    /// use windlass::{Client, RawJob};
    /// let client = Client::open("memory:").await?;
    /// let lines = stream::iter(0..5_000).map(|line| RawJob::new("line:import", format!("{line}")));
    /// let queued = client.enqueue_stream(lines).try_fold(0, async |count, _| Ok(count + 1)).await?;
    /// assert_eq!(queued, 5_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// (As its last item.) As [`enqueue`](Self::enqueue).
    pub fn enqueue_stream<S>(&self, jobs: S) -> impl Stream<Item = Result<Enqueued, Error>> + Send + use<S>
    where
        S: Stream + Send + 'static,
        S::Item: Enqueue,
    {
        let source: Pin<Box<S>> = Box::pin(jobs);
        let state = State { client: self.clone(), source, answers: VecDeque::new(), failed: None, ended: false };
        stream::unfold(state, State::next)
    }

    /// Enqueues the jobs of an iterator as [`enqueue_stream`](Self::enqueue_stream) does, and takes them from it only as
    /// their answers are read. [`enqueue_all`](Self::enqueue_all) answers with one list instead.
    ///
    /// # Errors
    /// (As its last item.) As [`enqueue`](Self::enqueue).
    pub fn enqueue_iter<I>(&self, jobs: I) -> impl Stream<Item = Result<Enqueued, Error>> + Send + use<I>
    where
        I: IntoIterator<IntoIter: Send + 'static, Item: Enqueue + 'static>,
    {
        self.enqueue_stream(stream::iter(jobs))
    }
}

struct State<S> {
    client: Client,
    source: Pin<Box<S>>,
    /// Not yet read.
    answers: VecDeque<Enqueued>,
    /// Told after the answers.
    failed: Option<Error>,
    ended: bool,
}

impl<S: Stream<Item: Enqueue> + Send> State<S> {
    async fn next(mut self) -> Option<(Result<Enqueued, Error>, Self)> {
        if self.answers.is_empty() && !self.ended {
            self.send_more().await;
        }
        if let Some(answer) = self.answers.pop_front() {
            return Some((Ok(answer), self));
        }
        let failed = self.failed.take()?;
        Some((Err(failed), self))
    }

    async fn send_more(&mut self) {
        let batch = self.gather().await;
        if batch.is_empty() {
            return;
        }
        match self.client.send(batch).await {
            Ok(answers) => self.answers.extend(answers),
            Err(error) => {
                self.ended = true;
                self.failed = Some(error);
            }
        }
    }

    /// Waits for one job and takes what is ready behind it.
    async fn gather(&mut self) -> Vec<NewJob> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BULK && bytes < BULK_BYTES {
            let next = match batch.is_empty() {
                true => self.source.next().await,
                false => match self.source.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                },
            };
            match next.map(|job| self.client.resolve(job)) {
                Some(Ok(job)) => {
                    bytes += job.spec.payload.len();
                    batch.push(job);
                }
                Some(Err(error)) => {
                    self.ended = true;
                    self.failed = Some(error.into());
                    break;
                }
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        batch
    }
}
