//! Calls that bring jobs into a queue while others are on their way there gather, and the next script takes them all: a
//! script for one job costs Redis as much as one for ten.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use super::{Shared, enqueue::enqueue_at_once};
use crate::{
    job::{NewJob, QueueName},
    store::{Enqueued, Result, StoreError},
};

type Call = (Vec<NewJob>, oneshot::Sender<Result<Vec<Enqueued>>>);

/// How many scripts are under way into a queue at most: one is made or read here while Redis runs the other.
const TURNS: usize = 2;

/// Of each queue into which scripts are under way: how many, and the calls that wait for the next one.
pub(in super::super) type Gathered = BTreeMap<QueueName, (usize, Vec<Call>)>;

/// Brings in jobs that nobody can be in the way of.
pub(super) async fn enqueue(store: Arc<Shared>, queue: QueueName, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
    let (done, answer) = oneshot::channel();
    if let Some(turn) = Turn::take(&store, queue, (jobs, done)) {
        turn.carry_on();
    }
    answer.await.map_err(|_| StoreError::Unavailable("the call was interrupted".into()))?
}

/// A turn to send what has gathered for a queue. Whoever has one goes on until nothing has gathered; if the last ends
/// before that, those who wait are told.
struct Turn {
    store: Arc<Shared>,
    queue: QueueName,
    calls: Vec<Call>,
    over: bool,
}

impl Turn {
    /// A turn, unless all are taken: then the call waits for the next script.
    fn take(store: &Arc<Shared>, queue: QueueName, call: Call) -> Option<Self> {
        let mut gathered = store.gathered.lock();
        let (turns, calls) = gathered.entry(queue.clone()).or_default();
        if *turns == TURNS {
            calls.push(call);
            return None;
        }
        *turns += 1;
        drop(gathered);
        Some(Self { store: store.clone(), queue, calls: vec![call], over: false })
    }

    fn carry_on(mut self) {
        self.store.env.clone().spawn(async move {
            while !self.over {
                self.send().await;
                // Those who have been answered may call again.
                tokio::task::yield_now().await;
                self.gather();
            }
        });
    }

    async fn send(&mut self) {
        let calls = std::mem::take(&mut self.calls);
        let jobs: Vec<NewJob> = calls.iter().flat_map(|(jobs, _)| jobs.iter().cloned()).collect();
        let answer = enqueue_at_once(&self.store, &jobs).await;
        if calls.len() > 1 && answer.as_ref().is_err_and(|error| !error.is_retryable()) {
            return self.send_alone(calls).await;
        }
        let mut answers = answer.as_deref().map(<[_]>::iter);
        for (jobs, done) in calls {
            // Whoever gave up waiting needs no answer.
            let _ = done.send(match &mut answers {
                Ok(answers) => Ok(answers.take(jobs.len()).cloned().collect()),
                Err(error) => Err((*error).clone()),
            });
        }
    }

    /// One after the other, so that what is wrong with one refuses no other. A job that the common script has made is
    /// as new to its caller as any.
    async fn send_alone(&self, calls: Vec<Call>) {
        for (jobs, done) in calls {
            let mut answer = enqueue_at_once(&self.store, &jobs).await;
            for (enqueued, job) in std::iter::zip(answer.iter_mut().flatten(), &jobs) {
                if *enqueued.id() == job.spec.id {
                    *enqueued = Enqueued::New(job.spec.id.clone());
                }
            }
            let _ = done.send(answer);
        }
    }

    fn gather(&mut self) {
        let mut gathered = self.store.gathered.lock();
        self.calls = gathered.get_mut(&self.queue).map(|(_, calls)| std::mem::take(calls)).unwrap_or_default();
        if self.calls.is_empty() {
            self.over = true;
            end(&mut gathered, &self.queue);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.over {
            end(&mut self.store.gathered.lock(), &self.queue);
        }
    }
}

/// One turn less; with the last, nobody is left to send what has gathered.
fn end(gathered: &mut Gathered, queue: &QueueName) {
    if let Some((turns, _)) = gathered.get_mut(queue) {
        *turns -= 1;
        if *turns == 0 {
            gathered.remove(queue);
        }
    }
}
