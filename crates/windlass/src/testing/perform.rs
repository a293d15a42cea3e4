//! One run of one job that is in no store, through the same executor as any other: for tests of handlers.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::layer::Layer;
use crate::{
    job::{ErrorClass, Fence, Lease, NewJob, ServerId, State, Verdict},
    store::{
        Backend, Claim, ClaimRequest, Claimed, ExtendRequest, Failure, Finish, Finished, PromoteRules, Promoted,
        Report, Reported, RescueRules, Rescued, Result, ServerInfo,
    },
};

/// How one run of a job ended; see [`Kit::perform`](super::Kit::perform).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Performed {
    /// What it would do to the job.
    pub verdict: Verdict,
    /// The whole source chain of its error.
    pub error: Option<String>,
    /// What kind of error.
    pub class: Option<ErrorClass>,
    /// What the handler returned.
    pub result: Option<Bytes>,
}

impl Performed {
    /// Whether it ended well.
    pub fn is_completed(&self) -> bool {
        self.verdict == Verdict::Complete
    }

    /// The handler's result, read as JSON.
    ///
    /// # Panics
    /// When the run did not end well, left no result, or left one of another type.
    #[track_caller]
    pub fn result<T: DeserializeOwned>(&self) -> T {
        let Some(bytes) = self.result.as_deref().filter(|_| self.is_completed()) else {
            panic!("there is no result: {self}");
        };
        serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("the result is of another type: {error}"))
    }
}

impl fmt::Display for Performed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.verdict)?;
        self.error.iter().try_for_each(|error| write!(f, " ({error})"))
    }
}

impl From<Finish> for Performed {
    fn from(finish: Finish) -> Self {
        let Finish { verdict, error, result, .. } = finish;
        let (class, error) = error.map(|Failure { class, message }| (class, message.to_string())).unzip();
        Self { verdict, error, class, result }
    }
}

/// The store as the server of one run sees it: it gives this one job, takes its report, and lets everything else
/// through that a handler may ask for.
pub(super) struct Aside {
    pub(super) store: Arc<dyn Backend>,
    pub(super) given: Mutex<Option<Claimed>>,
    pub(super) report: Arc<Mutex<Option<Finish>>>,
}

/// The job as it is claimed for this attempt.
pub(super) fn claimed(job: NewJob, attempt: u32, now: crate::job::Timestamp) -> Claimed {
    Claimed {
        spec: job.spec,
        fence: Fence(1),
        attempt,
        failures: attempt.saturating_sub(1),
        crashes: 0,
        snoozes: 0,
        created_at: now,
        waited: Duration::ZERO,
        checkpoint: None,
    }
}

#[async_trait]
impl Layer for Aside {
    fn inner(&self) -> &dyn Backend {
        &*self.store
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let mut given = self.given.lock();
        let takes = |job: &Claimed| request.limit > 0 && request.kinds.rule_for(job.spec.kind.as_str()).is_some();
        let jobs = if given.as_ref().is_some_and(takes) { Vec::from_iter(given.take()) } else { Vec::new() };
        Ok(Claim { jobs, suspect_waiting: None })
    }

    async fn extend(&self, _: &ExtendRequest) -> Result<Vec<Lease>> {
        Ok(Vec::new())
    }

    async fn report(&self, reports: Vec<Report>) -> Result<Vec<Reported>> {
        // The job is in no store; what it says is taken, and seen by nobody.
        Ok(reports.iter().map(|_| Reported::Applied).collect())
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>> {
        let mut answers = Vec::new();
        for mut finish in batch {
            // Jobs that it leaves behind are in the kit's store, as after any other run.
            self.store.enqueue(std::mem::take(&mut finish.then)).await?;
            answers.push(Finished::Applied(state(&finish.verdict)));
            *self.report.lock() = Some(finish);
        }
        Ok(answers)
    }

    // The other jobs of the store are none of this run's business.

    async fn promote(&self, _: &PromoteRules) -> Result<Promoted> {
        Ok(Promoted::default())
    }

    async fn rescue(&self, _: &RescueRules) -> Result<Rescued> {
        Ok(Rescued::default())
    }

    async fn beat(&self, _: &ServerInfo) -> Result<()> {
        Ok(())
    }

    async fn leave(&self, _: ServerId) -> Result<()> {
        Ok(())
    }
}

/// Where the verdict leads.
fn state(verdict: &Verdict) -> State {
    match verdict {
        Verdict::Complete => State::Completed,
        Verdict::RetryIn(_) => State::Retrying,
        Verdict::Snooze(_) => State::Scheduled,
        Verdict::Release => State::Pending,
        Verdict::Bury(_) => State::Dead,
        Verdict::Cancel(_) => State::Cancelled,
    }
}
