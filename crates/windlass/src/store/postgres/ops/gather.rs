//! Calls that bring in jobs while others are on their way gather, and the next step takes them all: what a job costs is
//! mostly its part of a commit. What may have to wait for somebody's open transaction goes by itself, so that it holds up
//! nobody: a job with a unique or an exclusive key, or an id that may be there already.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Shared, enqueue::enqueue_at_once};
use crate::{
    job::{JobId, NewJob},
    store::{Enqueued, Result, StoreError},
};

/// How many steps are under way at most: one is made here, or waits for the disk, while the server works on the other.
const TURNS: usize = 2;
/// What one step takes of the calls that have gathered; a call that brings that many by itself goes by itself.
const MOST: usize = 500;
/// So many bytes of payload, too.
const MOST_BYTES: usize = 1 << 20;

type Call = (Vec<NewJob>, oneshot::Sender<Result<Vec<Enqueued>>>);

/// How many steps are under way, and the calls that wait for the next one.
#[derive(Default)]
pub(in super::super) struct Gathered {
    turns: usize,
    calls: Vec<Call>,
}

pub(in super::super) async fn enqueue(store: Arc<Shared>, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
    if jobs.len() >= MOST || !jobs.iter().all(waits_for_nobody) {
        return enqueue_at_once(&store, &jobs).await;
    }
    let (done, answer) = oneshot::channel();
    if let Some(turn) = Turn::take(&store, (jobs, done)) {
        // Not within this call, which may end with its own answer while others wait for theirs.
        drop(store.link.spawn(turn.carry_on()));
    }
    answer.await.map_err(|_| StoreError::Unavailable("the call was interrupted".into()))?
}

fn waits_for_nobody(job: &NewJob) -> bool {
    job.fresh && job.spec.unique.is_none() && job.spec.exclusive.is_none()
}

/// How many calls of so many jobs and bytes go with one step: one at least, if there is one.
fn fitting(calls: impl Iterator<Item = (usize, usize)>) -> usize {
    let so_far = calls.scan((0_usize, 0_usize), |(jobs, bytes), (more, weigh)| {
        *jobs += more;
        *bytes = bytes.saturating_add(weigh);
        Some((*jobs, *bytes))
    });
    so_far.enumerate().take_while(|(at, (jobs, bytes))| *at == 0 || (*jobs <= MOST && *bytes <= MOST_BYTES)).count()
}

fn size((jobs, _): &Call) -> (usize, usize) {
    (jobs.len(), jobs.iter().map(|job| job.spec.payload.len()).sum())
}

fn first_id(jobs: &[NewJob]) -> Option<&JobId> {
    jobs.first().map(|job| &job.spec.id)
}

/// A turn to send what has gathered. Whoever has one goes on until nothing has; if the last is broken off before that,
/// those who wait are told.
struct Turn {
    store: Arc<Shared>,
    calls: Vec<Call>,
    over: bool,
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
        Some(Self { store: store.clone(), calls: vec![call], over: false })
    }

    async fn carry_on(mut self) {
        // Callers that were answered together ask again together: whoever is about to, comes along.
        tokio::task::yield_now().await;
        self.gather();
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

    /// Takes whole calls, as many as one step may hold with those that it has. If there are none, the turn is over.
    fn gather(&mut self) {
        let gathered = &mut *self.store.gathered.lock();
        let many = fitting(self.calls.iter().chain(&gathered.calls).map(size)).saturating_sub(self.calls.len());
        self.calls.extend(gathered.calls.drain(..many));
        // Few jobs in the order of their ids are the least work (enqueue.sql). They came at once, so any order will do.
        self.calls.sort_by(|(one, _), (other, _)| first_id(one).cmp(&first_id(other)));
        if self.calls.is_empty() {
            // In the same look that saw nothing, or a call that comes in between would wait for nobody.
            self.over = true;
            gathered.turns -= 1;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut gathered = self.store.gathered.lock();
        gathered.turns -= 1;
        if gathered.turns == 0 {
            // Nobody is left to send them; dropped, they tell who waits.
            gathered.calls.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_bounded_and_takes_a_large_call_alone() {
        assert_eq!(fitting([(1, 100); 2000].into_iter()), MOST);
        assert_eq!(fitting([(200, 100); 5].into_iter()), 2);
        assert_eq!(fitting([(1, MOST_BYTES / 2); 5].into_iter()), 2);
        assert_eq!(fitting([(1, 2 * MOST_BYTES), (1, 1)].into_iter()), 1);
        assert_eq!(fitting([].into_iter()), 0);
    }
}
