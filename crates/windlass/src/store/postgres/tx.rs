//! Enqueueing and completing in the caller's own transaction, by the very functions that the store's own calls use. The
//! transaction may be of any connection to the store's database. All that a driver has to do is one statement
//! ([`Driver`]): tokio-postgres does it here, sqlx in `tx/sqlx.rs`.

#[cfg(any(feature = "sqlx-0_9", feature = "sqlx-0_8"))]
mod sqlx;

use std::{future::Future, pin::Pin, sync::Arc};

use tokio_postgres::{
    Row, Transaction,
    types::{FromSql, Type},
};

use super::{
    PostgresStore, Shared,
    encode::{Columns, Reports},
    fault,
    link::Param,
    ops::{enqueue, finish},
    rows,
};
use crate::{
    error::Error,
    job::NewJob,
    store::{
        Backend, Enqueued, Finish, Finished, StoreError,
        tx::{Committed, CompleteIn, EnqueueIn, sealed::Sealed},
    },
};

/// What a driver answers for as long as the transaction is lent to it.
type Answered<'t, A> = Pin<Box<dyn Future<Output = Result<A, Error>> + Send + 't>>;

/// A row of an answer, whichever driver brought it.
pub(super) trait Reply: Sync {
    /// The value of a column, or why it cannot be read.
    fn value<'r, T: FromSql<'r>>(&'r self, name: &str) -> Result<T, String>;
}

impl Reply for Row {
    fn value<'r, T: FromSql<'r>>(&'r self, name: &str) -> Result<T, String> {
        self.try_get(name).map_err(|error| fault::chain(&error))
    }
}

/// A connection of the caller's, in a transaction.
trait Driver: Send {
    type Row: Reply + Send;

    /// What to call it in an error.
    const NAME: &'static str;

    /// Runs one statement, unnamed, so that a pooler of transactions may stand between.
    fn rows(
        &mut self,
        store: &Shared,
        sql: &str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;
}

impl Driver for Transaction<'_> {
    type Row = Row;
    const NAME: &'static str = "tokio-postgres";

    async fn rows(&mut self, store: &Shared, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let rows = self.query_typed(&store.link.with_schema(sql), params).await;
        rows.map_err(|error| fault::store_error(&store.address, &error))
    }
}

impl Sealed for Transaction<'_> {}

impl<'a> EnqueueIn for Transaction<'a> {
    type Answer<'t>
        = Answered<'t, Enqueued>
    where
        Self: 't;

    fn enqueue_in<'t>(&'t mut self, store: &dyn Backend, job: Result<NewJob, Error>) -> Self::Answer<'t> {
        let store = ours::<Self>(store);
        Box::pin(async move { enqueue_by(self, &*store?, job?).await })
    }
}

impl<'a> CompleteIn for Transaction<'a> {
    type Answer = Answered<'a, Committed>;

    fn complete_in(mut self, store: &dyn Backend, report: Finish, committed: Box<dyn FnOnce() + Send>) -> Self::Answer {
        let store = ours::<Self>(store);
        Box::pin(async move {
            let store = store?;
            let failed = |error| fault::store_error(&store.address, &error);
            if !finish_by(&mut self, &store, &report).await? {
                self.rollback().await.map_err(failed)?;
                return Err(Error::Stale(report.lease.id));
            }
            self.commit().await.map_err(failed)?;
            Ok(done(&store, committed))
        })
    }
}

/// Enqueues a job over a driver.
async fn enqueue_by<D: Driver>(driver: &mut D, store: &Shared, job: NewJob) -> Result<Enqueued, Error> {
    on_our_database(driver, store).await?;
    let jobs = [job];
    let (wall, columns) = (store.clock.wall(), Columns::new(&jobs));
    let (call, params) = enqueue::call_in(&wall, &columns);
    let reply = driver.rows(store, call, &params).await?;
    // A transaction that has told somebody cannot be prepared (PREPARE TRANSACTION).
    if store.address.notify {
        driver.rows(store, "SELECT windlass.tell_if_calm()", &[]).await?;
    }
    let mut answers = enqueue::answers(&jobs, &reply)?;
    answers.pop().ok_or_else(|| StoreError::Corrupt("the store answered no job".into()).into())
}

/// Finishes a run over a driver, unless its lease is lost: then the transaction with the handler's effects has to be
/// rolled back, since it is another run's effects that count.
async fn finish_by<D: Driver>(driver: &mut D, store: &Shared, report: &Finish) -> Result<bool, Error> {
    on_our_database(driver, store).await?;
    let reports = Reports::new(std::slice::from_ref(report));
    let beside = finish::Beside::new(store, &reports).theirs();
    let reply = driver.rows(store, finish::CALL, &finish::params(&beside, &reports)).await?;
    Ok(finish::answers(1, &reply)? != [Finished::Stale])
}

/// Says that a finish was committed, to its run and to whoever waits for what follows it.
fn done(store: &Shared, committed: Box<dyn FnOnce() + Send>) -> Committed {
    committed();
    store.tell();
    Committed(())
}

fn ours<D: Driver>(store: &dyn Backend) -> Result<Arc<Shared>, Error> {
    match store.as_any().downcast_ref::<PostgresStore>() {
        Some(store) => Ok(store.shared.clone()),
        None => Err(StoreError::Unsupported(format!(
            "a transaction of {} needs a client of a postgres store; this one's is {}",
            D::NAME,
            store.name()
        ))
        .into()),
    }
}

/// Refuses a transaction on another database, without an error of the server's, which would end the transaction.
async fn on_our_database<D: Driver>(driver: &mut D, store: &Shared) -> Result<(), StoreError> {
    // The comment on our table is the store's id, and null where there is no such table.
    let same = "SELECT obj_description(to_regclass('windlass.meta'), 'pg_class') = $1 AS same";
    let answer = driver.rows(store, same, &[(&store.store_id(), Type::TEXT)]).await?;
    if answer.first().map(|row| rows::get::<Option<bool>>(row, "same")).transpose()?.flatten() == Some(true) {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "the transaction is on another database than the client's store {}; open both on the same one",
        store.address.shown
    )))
}
