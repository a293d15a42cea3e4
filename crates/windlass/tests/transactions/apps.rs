//! Applications by rusqlite and tokio-postgres, and the places for all of them.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use tokio_postgres::NoTls;
use windlass::{Client, Committed, Error, JobContext, RawJob};

use crate::{
    App, EFFECT, End, Told,
    dropped::{Dropped, kept, polled},
    enqueued, servers,
};

/// A file that nobody else uses, as a store's URL.
pub(crate) fn sqlite_store() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // It goes with the thread, and each test has one of its own.
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    FOLDER.with(|folder| format!("sqlite:{}", folder.path().join(format!("{number}.db")).display()))
}

/// The file of a store, and one beside it.
pub(crate) fn sqlite_files(url: &str) -> (String, String) {
    let file = url.strip_prefix("sqlite:").expect("a file");
    (file.to_owned(), format!("{file}.elsewhere"))
}

/// The database of a store, and its schema.
pub(crate) fn postgres_place(url: &str) -> (String, String) {
    let (place, schema) = url.split_once("?schema=").expect("a schema of its own");
    (place.to_owned(), schema.to_owned())
}

/// Makes another database beside that of a store; its name is that of the store's schema.
pub(crate) async fn postgres_elsewhere(url: &str) -> (String, String) {
    let (place, schema) = postgres_place(url);
    let (server, _) = place.rsplit_once('/').expect("a database");
    let other = format!("{server}/{schema}");
    let admin = connect(&place).await;
    // A second connection to it finds it there.
    let _ = admin.batch_execute(&format!("CREATE DATABASE {schema}")).await;
    connect(&other).await.batch_execute("CREATE SCHEMA IF NOT EXISTS app").await.expect("a schema");
    (other, "app".into())
}

async fn connect(place: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(place, NoTls).await.expect("connect");
    tokio::spawn(connection);
    client
}

/// What every connection of a Postgres application begins with.
pub(crate) fn greeting(schema: &str) -> [String; 3] {
    let name = format!("SET application_name TO {schema}");
    [name, format!("SET search_path TO {schema}"), "CREATE TABLE IF NOT EXISTS effects (id text)".into()]
}

/// How many connections of this application are in a transaction and do nothing.
pub(crate) const LEFT_OPEN: &str = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' \
                                    AND application_name = current_setting('application_name')";

pub(crate) struct Rusqlite(Connection);

impl Rusqlite {
    fn open(file: &str) -> Self {
        let conn = Connection::open(file).expect("open");
        conn.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout");
        conn.execute_batch("CREATE TABLE IF NOT EXISTS effects (id text)").expect("a table");
        Self(conn)
    }
}

impl App for Rusqlite {
    fn store() -> String {
        sqlite_store()
    }

    async fn connect(url: &str) -> Self {
        Self::open(&sqlite_files(url).0)
    }

    async fn elsewhere(url: &str) -> Self {
        Self::open(&sqlite_files(url).1)
    }

    async fn execute(&mut self, sql: &str) {
        self.0.execute_batch(sql).expect("a statement");
    }

    async fn number(&mut self, sql: &str) -> i64 {
        self.0.query_row(sql, [], |row| row.get(0)).expect("a number")
    }

    async fn transact(&mut self, client: &Client, jobs: Vec<RawJob>, end: End) -> Told {
        // A transaction of rusqlite's is of one thread, so nothing may be awaited while it lives.
        let (handle, conn) = (tokio::runtime::Handle::current(), &mut self.0);
        tokio::task::block_in_place(|| {
            let mut tx = conn.transaction().expect("begin");
            tx.execute(EFFECT, []).expect("an effect");
            let answers = jobs.into_iter().map(|job| client.enqueue_in(&mut tx, job)).collect();
            let seen_before = handle.block_on(enqueued(client));
            tx.execute(EFFECT, []).expect("it can go on");
            match end {
                End::Commit => tx.commit().expect("commit"),
                End::RollBack => tx.rollback().expect("rollback"),
            }
            Told { answers, seen_before }
        })
    }

    async fn complete(&mut self, ctx: JobContext) -> Result<Committed, Error> {
        let tx = self.0.transaction().expect("begin");
        tx.execute(EFFECT, []).expect("an effect");
        ctx.complete_in(tx)
    }

    fn steal() -> &'static str {
        "UPDATE windlass_job SET fence = fence + 1"
    }
}

pub(crate) struct TokioPostgres(tokio_postgres::Client);

impl TokioPostgres {
    async fn open(place: &str, schema: &str) -> Self {
        let client = connect(place).await;
        for line in greeting(schema) {
            client.batch_execute(&line).await.expect("a greeting");
        }
        Self(client)
    }
}

impl App for TokioPostgres {
    fn store() -> String {
        servers::postgres::url()
    }

    async fn connect(url: &str) -> Self {
        let (place, schema) = postgres_place(url);
        Self::open(&place, &schema).await
    }

    async fn elsewhere(url: &str) -> Self {
        let (place, schema) = postgres_elsewhere(url).await;
        Self::open(&place, &schema).await
    }

    async fn execute(&mut self, sql: &str) {
        self.0.batch_execute(sql).await.expect("a statement");
    }

    async fn number(&mut self, sql: &str) -> i64 {
        self.0.query_one(sql, &[]).await.expect("a number").get(0)
    }

    async fn transact(&mut self, client: &Client, jobs: Vec<RawJob>, end: End) -> Told {
        let mut tx = self.0.transaction().await.expect("begin");
        tx.batch_execute(EFFECT).await.expect("an effect");
        let mut answers = Vec::new();
        for job in jobs {
            answers.push(client.enqueue_in(&mut tx, job).await);
        }
        let seen_before = enqueued(client).await;
        tx.batch_execute(EFFECT).await.expect("it can go on");
        match end {
            End::Commit => tx.commit().await.expect("commit"),
            End::RollBack => tx.rollback().await.expect("rollback"),
        }
        Told { answers, seen_before }
    }

    async fn complete(&mut self, ctx: JobContext) -> Result<Committed, Error> {
        let tx = self.0.transaction().await.expect("begin");
        tx.batch_execute(EFFECT).await.expect("an effect");
        ctx.complete_in(tx).await
    }

    fn steal() -> &'static str {
        "UPDATE job SET fence = fence + 1"
    }
}

impl Dropped for TokioPostgres {
    async fn enqueue_dropped(&mut self, client: &Client, id: &str, polls: u32) -> (bool, bool) {
        let effect = format!("INSERT INTO effects VALUES ('{id}')");
        let mut tx = self.0.transaction().await.expect("begin");
        tx.batch_execute(&effect).await.expect("an effect");
        let done = polled(polls, client.enqueue_in(&mut tx, kept(id))).await;
        let committed = tx.batch_execute(&effect).await.is_ok() && tx.commit().await.is_ok();
        (done.is_some_and(|answer| answer.is_ok()), committed)
    }

    async fn complete_dropped(&mut self, ctx: JobContext, id: &str, polls: u32) -> Option<Result<Committed, Error>> {
        let tx = self.0.transaction().await.expect("begin");
        tx.batch_execute(&format!("INSERT INTO effects VALUES ('{id}')")).await.expect("an effect");
        polled(polls, ctx.complete_in(tx)).await
    }

    async fn left_open(&mut self) -> i64 {
        self.number(LEFT_OPEN).await
    }
}
