//! Enqueueing and completing in the caller's own rusqlite transaction, with the very same operations as the writer's.

use rusqlite::{Connection, Transaction};

use super::{
    SqliteStore,
    clock::Clock,
    fault::Done,
    lines::Lines,
    migrate,
    ops::{enqueue::enqueue, finish::finish},
    step::Step,
};
use crate::{
    error::Error,
    job::NewJob,
    store::{
        Backend, Enqueued, Finish, Finished, StoreError,
        tx::{Committed, CompleteIn, EnqueueIn, sealed::Sealed},
    },
};

impl Sealed for Transaction<'_> {}

impl<'c> EnqueueIn for Transaction<'c> {
    type Answer<'t>
        = Result<Enqueued, Error>
    where
        Self: 't;

    fn enqueue_in<'t>(&'t mut self, store: &dyn Backend, job: Result<NewJob, Error>) -> Self::Answer<'t> {
        let jobs = [job?];
        let mut answers = in_transaction(self, store, |step| enqueue(step, &jobs))?;
        answers.pop().ok_or_else(|| StoreError::Corrupt("the store answered no job".into()).into())
    }
}

impl<'c> CompleteIn for Transaction<'c> {
    type Answer = Result<Committed, Error>;

    fn complete_in(self, store: &dyn Backend, report: Finish, committed: Box<dyn FnOnce() + Send>) -> Self::Answer {
        let id = report.lease.id.clone();
        let reports = [report];
        let answers = in_transaction(&self, store, |step| finish(step, &reports))?;
        if answers != [Finished::Stale] {
            self.commit().map_err(|error| StoreError::from(super::fault::Fault::from(error)))?;
            committed();
            return Ok(Committed(()));
        }
        // Dropping the transaction rolls the handler's effects back: another run's count.
        drop(self);
        Err(Error::Stale(id))
    }
}

/// Runs an operation in a transaction of somebody else's connection on our file.
fn in_transaction<A>(
    conn: &Connection,
    store: &dyn Backend,
    work: impl FnOnce(&mut Step<'_>) -> Done<A>,
) -> Result<A, Error> {
    let Some(store) = store.as_any().downcast_ref::<SqliteStore>() else {
        return Err(StoreError::Unsupported(format!(
            "a rusqlite transaction needs a client of a sqlite store; this one's is {}",
            store.name()
        ))
        .into());
    };
    let found = migrate::store_id(conn).ok();
    if found.as_deref() != Some(store.store_id()) {
        return Err(StoreError::Invalid(format!(
            "the transaction is on another database than the client's store {}; open both on the same file",
            store.place()
        ))
        .into());
    }
    let run = || -> Done<A> {
        let mut lines = Lines::default();
        let mut step = Step::begin(conn, Clock::read(store.env()), store.keep_failed(), &mut lines)?;
        let answer = work(&mut step)?;
        step.end()?;
        Ok(answer)
    };
    run().map_err(|fault| StoreError::from(fault).into())
}
