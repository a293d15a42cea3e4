//! The connections: a pool for calls, and one connection that hears hints. All live on a loop of their own, so that
//! handlers that hog the runtime delay no renewal.
//!
//! Every call is one statement or one call of a function, sent unnamed with its types, so it needs no state of a session
//! and works through a pooler of transactions. A call runs on the loop to its end, whoever stops waiting for it. A
//! connection that does not answer in time is given up, and so is one to a server that takes no writes any more; what was
//! asked over it may have happened.
//!
//! The functions see what others commit while they wait for them, so they run at READ COMMITTED. Where the server begins
//! transactions above that, each call is begun by words of its own, sent along with it.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts, Transaction};
use futures_util::{StreamExt, future::join3, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::error::Elapsed,
};
use tokio_postgres::{
    IsolationLevel, Row,
    types::{ToSql, Type},
};

use super::{address::Address, fault, tls::Tls};
use crate::{
    env::Env,
    store::{Result, StoreError},
};

/// The text of an operation's `.sql` file.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/postgres/sql/", $name, ".sql"))
    };
}
pub(super) use sql;

/// A parameter and its type.
pub(super) type Param<'p> = (&'p (dyn ToSql + Sync), Type);

/// How long the server may take to hear that nobody waits any more; a process that ends waits for that, too.
const CANCEL_WITHIN: Duration = Duration::from_secs(2);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The way to the server.
pub(super) struct Link {
    pool: Pool,
    address: Address,
    tls: Tls,
    work: mpsc::UnboundedSender<Work>,
    /// Whether a call has to say at which level it runs.
    says_level: AtomicBool,
}

impl Link {
    /// A link that is not connected yet, and its loop.
    pub(super) fn start(address: Address, env: &Env) -> Result<Self> {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let tls = Tls::new(&address)?;
        let manager = Manager::from_config(address.config.clone(), tls.clone(), config);
        let wait = Some(address.timeout);
        let pool = Pool::builder(manager)
            .max_size(address.pool)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait, create: wait, recycle: wait })
            .build()
            .map_err(|error| StoreError::Invalid(format!("{}: {error}", address.shown)))?;
        let (work, given) = mpsc::unbounded_channel();
        drop(env.spawn_apart("postgres", run(given)));
        Ok(Self { pool, address, tls, work, says_level: AtomicBool::new(false) })
    }

    /// Lets a call run on the loop; the answer can be waited for or not.
    pub(super) fn spawn<A: Send + 'static>(
        &self,
        call: impl Future<Output = A> + Send + 'static,
    ) -> oneshot::Receiver<A> {
        let (done, answer) = oneshot::channel();
        // After the loop has ended nobody answers, which is what the caller then hears.
        let _ = self.work.send(Box::pin(async move {
            let _ = done.send(call.await);
        }));
        answer
    }

    /// A statement of ours with the schema's name in it.
    pub(super) fn with_schema<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        with_schema(sql, &self.address.schema)
    }

    /// Runs one statement.
    pub(super) async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let sql = self.with_schema(sql);
        let connection = self.connection().await?;
        let call = async {
            if self.says_level.load(Ordering::Relaxed) {
                read_committed(&connection, &sql, params).await
            } else {
                connection.query_typed(&sql, params).await
            }
        };
        let answer = tokio::time::timeout(self.address.timeout, call).await;
        self.answered(connection, answer)
    }

    /// From now on each call says at which level it runs.
    pub(super) fn say_level(&self) {
        self.says_level.store(true, Ordering::Relaxed);
    }

    /// What came of a call over a connection, which goes back to the others if it is still good.
    pub(super) fn answered<A>(
        &self,
        connection: Object,
        answer: std::result::Result<std::result::Result<A, tokio_postgres::Error>, Elapsed>,
    ) -> Result<A> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if fault::takes_no_writes(&error) {
                    // Another server has taken its place; a new connection goes there.
                    self.give_up(connection);
                }
                if fault::ran_above_read_committed(&error) {
                    // The server's default was changed meanwhile. Nothing has happened, and the repeat goes well.
                    self.say_level();
                }
                Err(fault::store_error(&self.address, &error))
            }
            Err(_) => {
                self.cancel(&connection);
                // Whatever it answers later would be somebody else's answer.
                self.give_up(connection);
                Err(StoreError::Unavailable(format!(
                    "{}: no answer within {:?}; what was asked may have happened",
                    self.address.shown, self.address.timeout
                )))
            }
        }
    }

    /// Drops a connection, and those that lie idle: they lead to the same place, and each would cost a call its time.
    fn give_up(&self, connection: Object) {
        drop(Object::take(connection));
        self.pool.retain(|_, _| false);
    }

    /// Asks the server to stop what nobody waits for any more: behind somebody's lock it would lie there until that is
    /// gone, one backend for each repeat.
    fn cancel(&self, connection: &Object) {
        let (token, tls) = (connection.cancel_token(), self.tls.clone());
        drop(self.spawn(async move {
            // What cannot be stopped ends by itself, once it is let.
            let _ = tokio::time::timeout(CANCEL_WITHIN, token.cancel_query(tls)).await;
        }));
    }

    /// Runs one statement that answers one row.
    pub(super) async fn row(&self, sql: &str, params: &[Param<'_>]) -> Result<Row> {
        let mut rows = self.rows(sql, params).await?;
        rows.pop().ok_or_else(|| StoreError::Corrupt(format!("{}: an answer without a row", self.address.shown)))
    }

    pub(super) async fn connection(&self) -> Result<Object> {
        self.pool.get().await.map_err(|error| fault::no_connection(&self.address, &error))
    }
}

/// Begins a transaction of several statements.
pub(super) async fn begin(connection: &mut Object) -> std::result::Result<Transaction<'_>, tokio_postgres::Error> {
    connection.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await
}

/// Runs a statement in a transaction that says its level. One round trip: all three are sent before the first answer.
async fn read_committed(
    connection: &Object,
    sql: &str,
    params: &[Param<'_>],
) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
    let begin = connection.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
    let (begun, rows, ended) =
        join3(begin, connection.query_typed(sql, params), connection.batch_execute("COMMIT")).await;
    begun?;
    let rows = rows?;
    ended.map(|()| rows)
}

/// Statements are written for the schema `windlass`.
pub(super) fn with_schema<'s>(sql: &'s str, schema: &str) -> Cow<'s, str> {
    if schema == "windlass" { sql.into() } else { sql.replace("windlass.", &format!("{schema}.")).into() }
}

/// Runs calls beside each other until the store is gone and the last one has ended.
async fn run(mut given: mpsc::UnboundedReceiver<Work>) {
    let mut running = FuturesUnordered::new();
    let mut open = true;
    while open || !running.is_empty() {
        tokio::select! {
            work = given.recv(), if open => match work {
                Some(work) => running.push(work),
                None => open = false,
            },
            Some(()) = running.next(), if !running.is_empty() => {}
        }
    }
}

/// How many calls are under way whose callers stopped waiting. What was sent on its way is done before what is sent after
/// it.
#[derive(Clone)]
pub(super) struct Abandoned(Arc<watch::Sender<i64>>);

impl Default for Abandoned {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Abandoned {
    /// Waits until there are none.
    pub(super) async fn ended(&self) {
        // Fails only when the sender is gone, and we hold it.
        let _ = self.0.subscribe().wait_for(|many| *many <= 0).await;
    }

    /// One side for the call, one for its caller.
    pub(super) fn call(&self) -> (CallEnd, CallerEnd) {
        let first = Arc::new(AtomicBool::new(false));
        (CallEnd(End { first: first.clone(), all: self.0.clone() }), CallerEnd(End { first, all: self.0.clone() }))
    }
}

/// Whoever of a call and its caller ends later says so by this.
struct End {
    first: Arc<AtomicBool>,
    all: Arc<watch::Sender<i64>>,
}

/// Dropped when the call has ended.
pub(super) struct CallEnd(End);

/// Dropped when the caller has its answer, or waits no more.
pub(super) struct CallerEnd(End);

impl Drop for CallEnd {
    fn drop(&mut self) {
        if self.0.first.swap(true, Ordering::AcqRel) {
            self.0.all.send_modify(|many| *many -= 1);
        }
    }
}

impl Drop for CallerEnd {
    fn drop(&mut self) {
        if !self.0.first.swap(true, Ordering::AcqRel) {
            self.0.all.send_modify(|many| *many += 1);
        }
    }
}
