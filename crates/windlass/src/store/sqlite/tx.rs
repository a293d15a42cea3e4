//! Enqueueing and completing in the caller's own transaction, with the very same operations as the writer's: here in one
//! of rusqlite's, in `tx/sqlx.rs` in one of sqlx's.

#[cfg(feature = "sqlx-sqlite-0_9")]
mod sqlx;

use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction};

use super::{
    SqliteStore,
    clock::Clock,
    fault::{Done, Fault},
    lines::Lines,
    migrate,
    ops::{enqueue::enqueue, finish::finish},
    step::{Step, sql},
};
use crate::{
    env::Env,
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
        let (ours, jobs) = (Ours::of(store, "rusqlite")?, [job?]);
        let mut answers = in_transaction(self, &ours, |step| enqueue(step, &jobs))?;
        answers.pop().ok_or_else(|| StoreError::Corrupt("the store answered no job".into()).into())
    }
}

impl<'c> CompleteIn for Transaction<'c> {
    type Answer = Result<Committed, Error>;

    fn complete_in(self, store: &dyn Backend, report: Finish, committed: Box<dyn FnOnce() + Send>) -> Self::Answer {
        let (ours, id) = (Ours::of(store, "rusqlite")?, report.lease.id.clone());
        let reports = [report];
        let answers = in_transaction(&self, &ours, |step| finish(step, &reports))?;
        if answers != [Finished::Stale] {
            self.commit().map_err(|error| StoreError::from(Fault::from(error)))?;
            committed();
            return Ok(Committed(()));
        }
        // Dropping the transaction rolls the handler's effects back: another run's count.
        drop(self);
        Err(Error::Stale(id))
    }
}

/// What a step needs to know of the store whose client was asked.
struct Ours {
    store_id: String,
    place: String,
    keep_failed: Duration,
    env: Env,
}

impl Ours {
    fn of(store: &dyn Backend, driver: &str) -> Result<Self, Error> {
        let Some(store) = store.as_any().downcast_ref::<SqliteStore>() else {
            return Err(StoreError::Unsupported(format!(
                "a transaction of {driver} needs a client of a sqlite store; this one's is {}",
                store.name()
            ))
            .into());
        };
        let (store_id, env) = (store.store_id().to_owned(), store.env().clone());
        Ok(Self { store_id, place: store.place(), keep_failed: store.keep_failed(), env })
    }
}

/// Runs an operation in a transaction of somebody else's connection on our file.
fn in_transaction<A>(conn: &Connection, ours: &Ours, work: impl FnOnce(&mut Step<'_>) -> Done<A>) -> Result<A, Error> {
    conn.execute_batch("SAVEPOINT windlass_step").map_err(|error| StoreError::from(Fault::from(error)))?;
    let done = on_our_file(conn, ours).and_then(|()| {
        let mut lines = Lines::default();
        let mut step = Step::begin(conn, Clock::read(&ours.env), ours.keep_failed, &mut lines)?;
        let answer = work(&mut step)?;
        step.end()?;
        Ok(answer)
    });
    // A step that failed leaves nothing behind in the caller's transaction, which may still commit. After an error such
    // as a full disk SQLite has ended the whole of it, and there is nothing to go back to.
    let end = if done.is_ok() { "RELEASE windlass_step" } else { "ROLLBACK TO windlass_step; RELEASE windlass_step" };
    let ended = conn.execute_batch(end).map_err(Fault::from);
    done.and_then(|answer| ended.map(|()| answer)).map_err(|fault| StoreError::from(fault).into())
}

/// Refuses a transaction on another database. Takes the write lock first: one that begins by reading is refused by
/// SQLite when it comes to write and somebody else has written meanwhile.
fn on_our_file(conn: &Connection, ours: &Ours) -> Done<()> {
    let locked = conn.prepare_cached(sql!("lock")).and_then(|mut lock| lock.execute([]));
    if let Err(error) = locked
        && error.sqlite_error_code() != Some(ErrorCode::Unknown)
    {
        return Err(error.into());
    }
    // An unknown error: the database has no such table.
    if migrate::store_id(conn).ok().as_deref() == Some(&*ours.store_id) {
        return Ok(());
    }
    Err(Fault::Store(StoreError::Invalid(format!(
        "the transaction is on another database than the client's store {}; open both on the same file",
        ours.place
    ))))
}
