//! Enqueueing and completing in the caller's own database transaction. Sealed: the drivers are ours to choose.
//! A store that does not live in the transaction's database answers `Unsupported`.

use super::{Backend, Finish};
use crate::{error::Error, job::NewJob};

pub(crate) mod sealed {
    #[allow(unreachable_pub, reason = "seals the public traits below")]
    pub trait Sealed {}
}

/// A transaction in which jobs can be enqueued: they exist if and only if it commits.
///
/// | transaction | feature |
/// | --- | --- |
/// | `rusqlite::Transaction` | `sqlite` |
/// | `tokio_postgres::Transaction` | `postgres` |
/// | `sqlx::Transaction<'_, Postgres>`, `sqlx::PgConnection` | `sqlx-0_9`, `sqlx-0_8` |
/// | `sqlx::Transaction<'_, Sqlite>`, `sqlx::SqliteConnection` | `sqlx-sqlite-0_9` |
///
/// A connection of sqlx's may be lent as it is, to code that takes one; if it is in no transaction, the job is there at once.
pub trait EnqueueIn: sealed::Sealed {
    /// `Result<Enqueued, Error>`, or a future of it where the driver is asynchronous.
    type Answer<'t>
    where
        Self: 't;

    #[doc(hidden)]
    fn enqueue_in<'t>(&'t mut self, store: &dyn Backend, job: Result<NewJob, Error>) -> Self::Answer<'t>;
}

/// A transaction with which a run can be finished: its effects and the fenced finish commit together, or neither does.
/// Implemented for the transactions of [`EnqueueIn`].
pub trait CompleteIn: sealed::Sealed {
    /// `Result<Committed, Error>`, or a future of it where the driver is asynchronous.
    type Answer;

    /// Applies the finish, commits and calls `committed`; with a stale lease rolls back and answers [`Error::Stale`].
    #[doc(hidden)]
    fn complete_in(self, store: &dyn Backend, finish: Finish, committed: Box<dyn FnOnce() + Send>) -> Self::Answer;
}

/// Says that the run was finished in the handler's own transaction; only [`JobContext::complete_in`] makes one.
///
/// [`JobContext::complete_in`]: crate::JobContext::complete_in
#[derive(Debug)]
#[must_use = "return it from the handler: `Ok(ctx.complete_in(tx)?)`"]
pub struct Committed(pub(crate) ());
