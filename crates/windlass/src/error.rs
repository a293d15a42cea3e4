//! The errors of the library's own calls.

use thiserror::Error;

use crate::{
    job::{InvalidJob, JobId, State},
    store::StoreError,
};

/// What goes wrong when a client or a server is asked for something.
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
    /// The lease of the run was lost: another run of the job counts, and the transaction was rolled back.
    #[error("the lease of job `{0}` is lost; its transaction was rolled back and another run's outcome counts")]
    Stale(JobId),
}
