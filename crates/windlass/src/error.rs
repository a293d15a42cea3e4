//! The errors of the library's own calls.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    job::{ErrorClass, Fence, InvalidJob, JobId, LockName, State},
    store::StoreError,
};

/// How a job that was waited for ended, if not well.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("job `{id}` is {state}{}{}", .reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default(), .message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
#[non_exhaustive]
pub struct FailedJob {
    /// The job.
    pub id: JobId,
    /// Dead or cancelled.
    pub state: State,
    /// Why: of a dead job the name of its [`DeadReason`](crate::DeadReason), of a cancelled one what was said.
    pub reason: Option<Arc<str>>,
    /// What kind of error its last attempt met.
    pub class: Option<ErrorClass>,
    /// The text of that error, with its whole source chain.
    pub message: Option<String>,
}

/// What goes wrong when a client or a server is asked for something.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::{Client, Error, JobId};
/// let client = Client::open("memory:").await?;
/// match client.cancel(&"report-7".parse::<JobId>()?, "no longer needed").await {
///     Ok(state) => println!("it is {state} now"),
///     Err(Error::NotFound(id)) => println!("there is no {id}"),
///     Err(Error::Conflict { state, .. }) => println!("it had ended already: {state}"),
///     Err(other) => return Err(other.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The job was refused before it reached the store.
    #[error(transparent)]
    Invalid(#[from] InvalidJob),
    /// A server or router is set up wrongly.
    #[error("{0}")]
    Config(String),
    /// A part of a server panicked, and the server has shut down. Its jobs are safe and run elsewhere.
    #[error("{0}; its jobs are safe and run elsewhere, or once it is started again")]
    Panicked(Arc<str>),
    /// There is no job with this id: it was removed, or never there.
    #[error("job `{0}` is not in this store: it was removed, or never there")]
    NotFound(JobId),
    /// There is no job with this id, which is one that a client made: it was most likely removed.
    #[error(
        "job `{0}` is not in this store: it was removed, or never there; a completed job stays readable only for its retention, so set one (JobOptions::retention, --retention)"
    )]
    Gone(JobId),
    /// The job's state does not allow it.
    #[error("job `{id}` is {state}{}", .holder.as_ref().map(|holder| format!(" and its unique key is held by job `{holder}`")).unwrap_or_default())]
    #[allow(missing_docs)]
    Conflict { id: JobId, state: State, holder: Option<JobId> },
    /// The lease of the run was lost, or the run has ended: another run of the job counts. A transaction that was to
    /// complete the job was rolled back, a checkpoint was not kept.
    #[error("the lease of job `{0}` is lost; another run's outcome counts, and nothing more is kept of this one")]
    Stale(JobId),
    /// The lock was lost: broken, lapsed and taken by somebody else, or not renewed in time. What was done under it has
    /// been stopped.
    #[error(
        "the lock `{name}` (fence {fence}) is lost: it was broken, or could not be renewed in time; what was done under it \
         was stopped, and somebody else may hold it now"
    )]
    #[allow(missing_docs)]
    LockLost { name: LockName, fence: Fence },
    /// Others hold the lock, or wait for it, with another number of slots.
    #[error(
        "the lock `{name}` is in use with {there} slots and was asked for with {asked}; let all who use the name ask for \
         the same number, or wait until nobody holds it"
    )]
    #[allow(missing_docs)]
    LockSlots { name: LockName, asked: u32, there: u32 },
    /// The checkpoint cannot be kept.
    #[error("the checkpoint cannot be kept: {0}")]
    Checkpoint(String),
    /// The job that was waited for did not complete.
    #[error(transparent)]
    Failed(Box<FailedJob>),
    /// The job that was waited for completed, and its result is not what was expected of it.
    #[error("job `{id}` completed, but {problem}")]
    #[allow(missing_docs)]
    Result { id: JobId, problem: String },
}
