//! Which jobs a listing shows, a page at a time.

use serde::Serialize;

use super::{JobRecord, Kind, QueueName, State, Status};

/// What a listing is narrowed to. All conditions must hold; the empty filter is every job.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::{Client, JobFilter, JobState};
/// let client = Client::open("memory:").await?;
/// let (filter, mut after) = (JobFilter::default().state(JobState::Dead), None);
/// loop {
///     let page = client.list(&filter, after, 100).await?;
///     page.items.iter().for_each(|job| println!("{} {:?}", job.id(), job.reason));
///     after = page.next;
///     if after.is_none() {
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct JobFilter {
    pub states: Vec<State>,
    pub kind: Option<Kind>,
    pub queue: Option<QueueName>,
    pub tenant: Option<String>,
    pub tag: Option<String>,
}

impl JobFilter {
    /// Only jobs in this state, or in one of several when called again.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.states.push(state);
        self
    }

    /// Only jobs whose state is part of this status.
    #[must_use]
    pub fn status(mut self, status: Status) -> Self {
        self.states.extend(State::ALL.into_iter().filter(|state| state.status() == status));
        self
    }

    /// Whether a record passes.
    pub fn matches(&self, job: &JobRecord) -> bool {
        (self.states.is_empty() || self.states.contains(&job.state))
            && self.kind.as_ref().is_none_or(|kind| *kind == job.spec.kind)
            && self.queue.as_ref().is_none_or(|queue| *queue == job.spec.queue)
            && self.tenant.as_ref().is_none_or(|tenant| job.spec.tenant.as_deref() == Some(tenant))
            && self.tag.as_ref().is_none_or(|tag| job.spec.tags.contains(tag))
    }
}

/// Where a listing goes on: the place of the last job shown, in order of enqueueing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cursor(pub i64);

/// One page of a listing, oldest job first.
#[derive(Clone, Debug, Default)]
pub struct JobPage {
    /// The jobs. There may be fewer than asked for, even none, although more follow: a page looks at a bounded
    /// number of jobs.
    pub items: Vec<JobRecord>,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}
