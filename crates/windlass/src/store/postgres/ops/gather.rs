//! Calls that bring in jobs while others are on their way gather, and the next step takes them all: what a job costs is
//! mostly its part of a commit.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Shared, enqueue::enqueue_at_once};
use crate::{
    job::NewJob,
    store::{Enqueued, Result, StoreError},
};

/// How many steps are under way at most: one is made here, or waits for the disk, while the server works on the other.
const TURNS: usize = 2;
/// What one step takes of the calls that have gathered; a call that brings that many by itself goes by itself.
const MOST: usize = 500;

type Call = (Vec<NewJob>, oneshot::Sender<Result<Vec<Enqueued>>>);

/// How many steps are under way, and the calls that wait for the next one.
#[derive(Default)]
pub(in super::super) struct Gathered {
    turns: usize,
    calls: Vec<Call>,
}

pub(in super::super) async fn enqueue(store: Arc<Shared>, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
    if jobs.len() >= MOST {
        return enqueue_at_once(&store, &jobs).await;
    }
    let (done, answer) = oneshot::channel();
    if let Some(turn) = Turn::take(&store, (jobs, done)) {
        // Not within this call, which may end with its own answer while others wait for theirs.
        drop(store.link.spawn(turn.carry_on()));
    }
    answer.await.map_err(|_| StoreError::Unavailable("the call was interrupted".into()))?
}

/// A turn to send what has gathered. Whoever has one goes on until nothing has.
struct Turn {
    store: Arc<Shared>,
    calls: Vec<Call>,
}

impl Turn {
    /// A turn, unless all are taken: then the call waits for the next step.
    fn take(store: &Arc<Shared>, call: Call) -> Option<Self> {
        let mut gathered = store.gathered.lock();
        if gathered.turns == TURNS {
            gathered.calls.push(call);
            return None;
        }
        gathered.turns += 1;
        Some(Self { store: store.clone(), calls: vec![call] })
    }

    async fn carry_on(mut self) {
        while !self.calls.is_empty() {
            let calls = std::mem::take(&mut self.calls);
            self.send(calls).await;
            self.gather();
        }
    }

    async fn send(&self, calls: Vec<Call>) {
        let jobs: Vec<NewJob> = calls.iter().flat_map(|(jobs, _)| jobs.iter().cloned()).collect();
        let answer = enqueue_at_once(&self.store, &jobs).await;
        if calls.len() > 1 && answer.as_ref().is_err_and(|error| !error.is_retryable()) {
            // One after the other, so that what is wrong with one refuses no other.
            for (jobs, done) in calls {
                let _ = done.send(enqueue_at_once(&self.store, &jobs).await);
            }
            return;
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

    /// Takes whole calls, as many as one step may hold.
    fn gather(&mut self) {
        let gathered = &mut *self.store.gathered.lock();
        let mut jobs = 0;
        let fits = |(more, _): &Call| {
            jobs += more.len();
            jobs <= MOST
        };
        let many = gathered.calls.iter().map(fits).take_while(|fits| *fits).count();
        self.calls = gathered.calls.drain(..many).collect();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut gathered = self.store.gathered.lock();
        gathered.turns -= 1;
        if gathered.turns == 0 {
            // Nobody is left to send them; dropped, they tell who waits.
            gathered.calls.clear();
        }
    }
}
