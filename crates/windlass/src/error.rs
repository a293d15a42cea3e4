//! The errors of the library's own calls.

use thiserror::Error;

use crate::{
    job::{InvalidJob, JobId, State},
    store::StoreError,
};

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
    /// There is no job with this id.
    #[error("there is no job `{0}`")]
    NotFound(JobId),
    /// The job was there and is no longer.
    #[error(
        "job `{0}` has been removed; a completed job stays readable only for its retention, so set one (JobOptions::retention, --retention)"
    )]
    Gone(JobId),
    /// The job's state does not allow it.
    #[error("job `{id}` is {state}{}", .holder.as_ref().map(|holder| format!(" and its unique key is held by job `{holder}`")).unwrap_or_default())]
    #[allow(missing_docs)]
    Conflict { id: JobId, state: State, holder: Option<JobId> },
    /// The lease of the run was lost: another run of the job counts, and the transaction was rolled back.
    #[error("the lease of job `{0}` is lost; its transaction was rolled back and another run's outcome counts")]
    Stale(JobId),
}
