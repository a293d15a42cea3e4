//! What happened in one simulation: recorded where calls meet the store (so after all faults of the network), in the
//! handlers, and where faults begin and end.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use windlass::{
    Action, Fence, JobId, JobState, Lease, NewJob, QueueName, ServerId, StoreError, Verdict,
    store::{
        Backend, Claim, ClaimRequest, Enqueued, ExtendRequest, Finish, Finished, Flush, Flushed, Operated,
        PromoteRules, Promoted, Prune, Pruned, Report, Reported, RescueRules, Rescued,
    },
    testing::{Layer, World},
};

type Result<T> = std::result::Result<T, StoreError>;

/// A job as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) id: JobId,
    pub(crate) max_retry: u32,
    pub(crate) keeps: bool,
    /// Its queue and its exclusive key in it.
    pub(crate) exclusive: Option<(QueueName, Arc<str>)>,
}

impl Came {
    fn of(job: &NewJob) -> Self {
        let spec = &job.spec;
        Self {
            id: spec.id.clone(),
            max_retry: spec.max_retry,
            keeps: !spec.retention.is_zero(),
            exclusive: spec.exclusive.clone().map(|key| (spec.queue.clone(), key)),
        }
    }
}

/// A job as it was given out.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) lease: Lease,
    pub(crate) attempt: u32,
    pub(crate) failures: u32,
    pub(crate) crashes: u32,
    pub(crate) checkpoint: Option<u32>,
}

/// One thing that happened.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "the trace shows every field, also those that the checker does not read")]
pub(crate) enum Event {
    Came { job: Came, answer: Enqueued },
    Acknowledged { id: JobId },
    Claimed { server: ServerId, sequence: u64, lease: Duration, jobs: Vec<Given> },
    Extended { server: ServerId, lease: Duration, kept: Vec<Lease>, lost: Vec<Lease> },
    Finished { lease: Lease, verdict: Verdict, answer: Finished, then: Vec<Came> },
    Reported { lease: Lease, checkpoint: Option<u32>, answer: Reported },
    Noted { lease: Lease, step: u32 },
    Flushed { members: Vec<JobId>, into: Came, answer: Flushed },
    Rescued { id: JobId, fence: Fence, state: JobState },
    Operated { id: JobId, action: Action, answer: Operated },
    Paused { queue: QueueName, paused: bool },
    Started { process: String, lease: Lease },
    Ended { process: String, lease: Lease },
    Up { process: String, server: ServerId },
    Killed { process: String },
    Left { process: String },
    Frozen { process: String, frozen: bool },
    Cut { process: String, cut: bool },
    Down { down: bool },
    Stepped { micros: i64 },
    Calm,
}

impl Event {
    /// Whether it is about this job, or about everybody.
    pub(crate) fn concerns(&self, wanted: &JobId) -> bool {
        match self {
            Event::Came { job, .. } => job.id == *wanted,
            Event::Acknowledged { id } | Event::Rescued { id, .. } | Event::Operated { id, .. } => id == wanted,
            Event::Claimed { jobs, .. } => jobs.iter().any(|job| job.lease.id == *wanted),
            Event::Extended { kept, lost, .. } => kept.iter().chain(lost).any(|lease| lease.id == *wanted),
            Event::Finished { lease, then, .. } => lease.id == *wanted || then.iter().any(|job| job.id == *wanted),
            Event::Flushed { members, into, .. } => into.id == *wanted || members.contains(wanted),
            Event::Started { lease, .. }
            | Event::Ended { lease, .. }
            | Event::Reported { lease, .. }
            | Event::Noted { lease, .. } => lease.id == *wanted,
            _ => true,
        }
    }
}

/// The record of a run. Clones write to the same one.
#[derive(Clone)]
pub(crate) struct History(Arc<Inner>);

struct Inner {
    world: World,
    events: Mutex<Vec<(Duration, Event)>>,
    /// Mixed from the time and kind of every call, those that did nothing included.
    pace: Mutex<u64>,
}

impl History {
    pub(crate) fn new(world: &World) -> Self {
        Self(Arc::new(Inner { world: world.clone(), events: Mutex::default(), pace: Mutex::new(0) }))
    }

    pub(crate) fn note(&self, event: Event) {
        self.0.events.lock().push((self.0.world.elapsed(), event));
    }

    pub(crate) fn take(&self) -> Vec<(Duration, Event)> {
        std::mem::take(&mut self.0.events.lock())
    }

    pub(crate) fn pace(&self) -> u64 {
        *self.0.pace.lock()
    }

    fn step(&self, call: u64) {
        let mut pace = self.0.pace.lock();
        let now = self.0.world.elapsed().as_micros() as u64;
        *pace = (*pace ^ now ^ (call << 56)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "History({} events)", self.0.events.lock().len())
    }
}

/// The step that a simulated job has come to.
fn step_of(checkpoint: Option<&Bytes>) -> Option<u32> {
    checkpoint.and_then(|bytes| serde_json::from_slice(bytes).ok())
}

/// Writes down what a store was asked and what it answered.
pub(crate) struct Recorder {
    pub(crate) store: Arc<dyn Backend>,
    pub(crate) history: History,
}

#[async_trait]
impl Layer for Recorder {
    fn inner(&self) -> &dyn Backend {
        &*self.store
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.history.step(1);
        let came: Vec<_> = jobs.iter().map(Came::of).collect();
        let answers = self.store.enqueue(jobs).await?;
        for (job, answer) in came.into_iter().zip(&answers) {
            self.history.note(Event::Came { job, answer: answer.clone() });
        }
        Ok(answers)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        self.history.step(2);
        let claim = self.store.claim(request).await?;
        if !claim.jobs.is_empty() {
            let given = claim.jobs.iter().map(|job| Given {
                lease: job.lease(),
                attempt: job.attempt,
                failures: job.failures,
                crashes: job.crashes,
                checkpoint: step_of(job.checkpoint.as_ref()),
            });
            self.history.note(Event::Claimed {
                server: request.server,
                sequence: request.sequence,
                lease: request.lease,
                jobs: given.collect(),
            });
        }
        Ok(claim)
    }

    async fn extend(&self, request: &ExtendRequest) -> Result<Vec<Lease>> {
        self.history.step(3);
        let lost = self.store.extend(request).await?;
        let kept = request.leases.iter().filter(|lease| !lost.contains(lease)).cloned().collect();
        let (server, lease) = (request.server, request.lease);
        self.history.note(Event::Extended { server, lease, kept, lost: lost.clone() });
        Ok(lost)
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
        self.history.step(4);
        let asked: Vec<_> = batch
            .iter()
            .map(|finish| (finish.lease.clone(), finish.verdict.clone(), finish.then.iter().map(Came::of).collect()))
            .collect();
        let answers = self.store.finish(batch).await?;
        for ((lease, verdict, then), answer) in asked.into_iter().zip(&answers) {
            self.history.note(Event::Finished { lease, verdict, answer: *answer, then });
        }
        Ok(answers)
    }

    async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>> {
        self.history.step(9);
        let said = |report: &Report| (report.lease.clone(), step_of(report.news.checkpoint.as_ref()));
        let said: Vec<_> = reports.iter().map(said).collect();
        let answers = self.store.report(reports).await?;
        for ((lease, checkpoint), answer) in said.into_iter().zip(&answers) {
            self.history.note(Event::Reported { lease, checkpoint, answer: *answer });
        }
        Ok(answers)
    }

    async fn promote(&self, rules: &PromoteRules) -> Result<Promoted> {
        self.history.step(5);
        self.store.promote(rules).await
    }

    async fn rescue(&self, rules: &RescueRules) -> Result<Rescued> {
        self.history.step(6);
        let rescued = self.store.rescue(rules).await?;
        for job in &rescued.jobs {
            self.history.note(Event::Rescued { id: job.id.clone(), fence: job.fence, state: job.state });
        }
        Ok(rescued)
    }

    async fn operate(&self, id: &JobId, action: &Action) -> Result<Operated> {
        self.history.step(7);
        let answer = self.store.operate(id, action).await?;
        self.history.note(Event::Operated { id: id.clone(), action: action.clone(), answer: answer.clone() });
        Ok(answer)
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool> {
        self.history.note(Event::Paused { queue: queue.clone(), paused });
        self.store.pause(queue, paused).await
    }

    async fn flush(&self, flush: &Flush) -> Result<Flushed> {
        self.history.step(9);
        let answer = self.store.flush(flush).await?;
        let members = flush.members.iter().map(|(id, _)| id.clone()).collect();
        self.history.note(Event::Flushed { members, into: Came::of(&flush.into), answer: answer.clone() });
        Ok(answer)
    }

    async fn prune(&self, what: &Prune, limit: u32) -> Result<Pruned> {
        self.history.step(8);
        self.store.prune(what, limit).await
    }
}
