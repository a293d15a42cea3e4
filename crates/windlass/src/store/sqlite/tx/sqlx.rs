//! The same in a transaction of sqlx's: its connection lends us SQLite's handle of it, and the operations run over that.
//! What can take long is left to sqlx's own thread: waiting for the write lock, and the commit.

use std::{future::Future, pin::Pin};

use rusqlite::{Connection, Error as SqlError, ffi};
use sqlx_0_9::{Sqlite, SqliteConnection, Transaction, sqlite::LockedSqliteHandle};

use super::{
    super::{
        fault::{Done, Fault},
        ops::{enqueue::enqueue, finish::finish},
        step::{Step, sql},
    },
    Ours, in_transaction,
};
use crate::{
    error::Error,
    job::NewJob,
    store::{
        Backend, Enqueued, Finish, Finished, StoreError,
        tx::{Committed, CompleteIn, EnqueueIn, sealed::Sealed},
    },
};

const NAME: &str = "sqlx";

type Answered<'t, A> = Pin<Box<dyn Future<Output = Result<A, Error>> + Send + 't>>;

impl Sealed for SqliteConnection {}
impl Sealed for Transaction<'_, Sqlite> {}

impl EnqueueIn for SqliteConnection {
    type Answer<'t> = Answered<'t, Enqueued>;

    fn enqueue_in<'t>(&'t mut self, store: &dyn Backend, job: Result<NewJob, Error>) -> Self::Answer<'t> {
        let ours = Ours::of(store, NAME);
        Box::pin(async move {
            let (ours, jobs) = (ours?, [job?]);
            let mut answers = step_over(self, &ours, |step| enqueue(step, &jobs)).await?;
            answers.pop().ok_or_else(|| StoreError::Corrupt("the store answered no job".into()).into())
        })
    }
}

impl<'c> EnqueueIn for Transaction<'c, Sqlite> {
    type Answer<'t>
        = Answered<'t, Enqueued>
    where
        Self: 't;

    fn enqueue_in<'t>(&'t mut self, store: &dyn Backend, job: Result<NewJob, Error>) -> Self::Answer<'t> {
        (**self).enqueue_in(store, job)
    }
}

impl<'c> CompleteIn for Transaction<'c, Sqlite> {
    type Answer = Answered<'c, Committed>;

    fn complete_in(mut self, store: &dyn Backend, report: Finish, committed: Box<dyn FnOnce() + Send>) -> Self::Answer {
        let ours = Ours::of(store, NAME);
        Box::pin(async move {
            let (ours, id, reports) = (ours?, report.lease.id.clone(), [report]);
            let answers = step_over(&mut self, &ours, |step| finish(step, &reports)).await?;
            if answers == [Finished::Stale] {
                // The handler's effects go with it: another run's count.
                self.rollback().await.map_err(store_error)?;
                return Err(Error::Stale(id));
            }
            self.commit().await.map_err(store_error)?;
            committed();
            Ok(Committed(()))
        })
    }
}

/// Runs an operation in the transaction of sqlx's connection.
async fn step_over<A>(
    connection: &mut SqliteConnection,
    ours: &Ours,
    work: impl FnOnce(&mut Step<'_>) -> Done<A> + Send,
) -> Result<A, Error> {
    // Whoever has the write lock is waited for here, on sqlx's thread. No such table: another database, as we shall see.
    let lock = sqlx_0_9::query(sql!("lock")).persistent(false).execute(&mut *connection).await;
    if let Err(error) = lock
        && code(&error) != Some(ffi::SQLITE_ERROR)
    {
        return Err(store_error(error).into());
    }
    let mut locked = connection.lock_handle().await.map_err(store_error)?;
    over(&mut locked, |conn| {
        if conn.is_autocommit() {
            let what = "the connection is in no transaction; begin one, and enqueue in that";
            return Err(StoreError::Invalid(what.into()).into());
        }
        in_transaction(conn, ours, work)
    })
}

/// Lets rusqlite use the handle for as long as it is locked.
#[allow(unsafe_code, reason = "rusqlite has no other way to use a connection that somebody else has opened")]
fn over<A>(
    locked: &mut LockedSqliteHandle<'_>,
    work: impl FnOnce(&Connection) -> Result<A, Error>,
) -> Result<A, Error> {
    // SAFETY: the handle is open, and while it is locked nobody else uses it or any statement of it. There is one SQLite in
    // a program (`links`), so it is of the kind that rusqlite takes. The connection made of it does not close it, ends its
    // own statements when it is dropped, and is dropped before the lock.
    let conn = unsafe { Connection::from_handle(locked.as_raw_handle().as_ptr()) };
    work(&conn.map_err(|error| StoreError::from(Fault::from(error)))?)
}

/// SQLite's own code of an error, without what it adds to tell kinds of it apart.
fn code(error: &sqlx_0_9::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

fn store_error(error: sqlx_0_9::Error) -> StoreError {
    match code(&error) {
        Some(code) => Fault::Sql(SqlError::SqliteFailure(ffi::Error::new(code), Some(error.to_string()))).into(),
        None => StoreError::Unavailable(format!("the connection of sqlx: {error}")),
    }
}
