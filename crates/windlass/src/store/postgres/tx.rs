//! Enqueueing and completing in the caller's own transaction of tokio-postgres, by the same functions as the store's own
//! calls. The transaction may be of any connection to the store's database.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio_postgres::{Transaction, types::Type};

use super::{
    PostgresStore, Shared,
    encode::{Columns, Reports},
    fault,
    ops::{enqueue, finish},
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

type Answered<'t, A> = Pin<Box<dyn Future<Output = Result<A, Error>> + Send + 't>>;

impl<'a> EnqueueIn for Transaction<'a> {
    type Answer<'t>
        = Answered<'t, Enqueued>
    where
        Self: 't;

    fn enqueue_in<'t>(&'t mut self, store: &dyn Backend, job: Result<NewJob, Error>) -> Self::Answer<'t> {
        let store = ours(store);
        Box::pin(async move {
            let (store, jobs) = (store?, [job?]);
            on_our_database(self, &store).await?;
            let (wall, columns) = (store.clock.wall(), Columns::new(&jobs));
            let call = store.link.with_schema(enqueue::CALL);
            let failed = |error| fault::store_error(&store.address, &error);
            let reply = self.query_typed(&call, &enqueue::params(&wall, &columns)).await.map_err(failed)?;
            let tell = store.link.with_schema("SELECT windlass.tell_if_calm()");
            self.query_typed(&tell, &[]).await.map_err(failed)?;
            let mut answers = enqueue::answers(&jobs, &reply)?;
            answers.pop().ok_or_else(|| StoreError::Corrupt("the store answered no job".into()).into())
        })
    }
}

impl<'a> CompleteIn for Transaction<'a> {
    type Answer = Answered<'a, Committed>;

    fn complete_in(self, store: &dyn Backend, report: Finish, committed: Box<dyn FnOnce() + Send>) -> Self::Answer {
        let store = ours(store);
        Box::pin(async move {
            let store = store?;
            on_our_database(&self, &store).await?;
            let reports = Reports::new(std::slice::from_ref(&report));
            let beside = finish::Beside::new(&store, &reports);
            let call = store.link.with_schema(finish::CALL);
            let failed = |error| fault::store_error(&store.address, &error);
            let reply = self.query_typed(&call, &finish::params(&beside, &reports)).await.map_err(failed)?;
            if finish::answers(1, &reply)? == [Finished::Stale] {
                // The handler's effects are rolled back with it: another run's count.
                self.rollback().await.map_err(failed)?;
                return Err(Error::Stale(report.lease.id));
            }
            self.commit().await.map_err(failed)?;
            committed();
            store.tell();
            Ok(Committed(()))
        })
    }
}

fn ours(store: &dyn Backend) -> Result<Arc<Shared>, Error> {
    match store.as_any().downcast_ref::<PostgresStore>() {
        Some(store) => Ok(store.shared.clone()),
        None => Err(StoreError::Unsupported(format!(
            "a tokio-postgres transaction needs a client of a postgres store; this one's is {}",
            store.name()
        ))
        .into()),
    }
}

/// Refuses a transaction on another database, without an error of the server's, which would end the transaction.
async fn on_our_database(transaction: &Transaction<'_>, store: &Shared) -> Result<(), Error> {
    let failed = |error| fault::store_error(&store.address, &error);
    let there = store.link.with_schema("SELECT to_regclass('windlass.meta') IS NOT NULL AS there");
    let row = transaction.query_typed_one(&there, &[]).await.map_err(failed)?;
    if row.get(0) {
        let same = store.link.with_schema("SELECT 1 FROM windlass.meta WHERE name = 'store_id' AND value = $1");
        let found = transaction.query_typed(&same, &[(&store.store_id(), Type::TEXT)]).await.map_err(failed)?;
        if !found.is_empty() {
            return Ok(());
        }
    }
    Err(StoreError::Invalid(format!(
        "the transaction is on another database than the client's store {}; open both on the same one",
        store.address.shown
    ))
    .into())
}
