//! Jobs in the caller's own transactions: the same facts for every driver that can lend us one. A driver is an [`App`] in
//! `apps.rs` (rusqlite, tokio-postgres) or `sqlx_apps.rs`; the facts are in `facts.rs`, and what
//! holds when a call is given up half-way in `dropped.rs`. `killed.rs` kills applications and servers.
#![cfg(all(
    feature = "sqlite",
    feature = "postgres",
    feature = "sqlx-0_9",
    feature = "sqlx-0_8",
    feature = "sqlx-sqlite-0_9"
))]

mod apps;
mod dropped;
mod facts;
mod killed;
#[path = "../servers/mod.rs"]
mod servers;
mod sqlx_apps;

use std::future::Future;

use windlass::{Client, Committed, Enqueued, Error, JobContext, RawJob};

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Commit,
    RollBack,
}

/// What one transaction was told.
struct Told {
    answers: Vec<Result<Enqueued, Error>>,
    /// How many jobs others saw before it ended.
    seen_before: u64,
}

/// An application's connection by one driver, with a table `effects` beside the store.
trait App: Sized + Send {
    /// The URL of a store that nobody else uses.
    fn store() -> String;

    /// A connection to the store's database; `effects` is made if it is not there.
    fn connect(url: &str) -> impl Future<Output = Self> + Send;

    /// A connection to another database, with a table of that name.
    fn elsewhere(url: &str) -> impl Future<Output = Self> + Send;

    fn execute(&mut self, sql: &str) -> impl Future<Output = ()> + Send;

    fn number(&mut self, sql: &str) -> impl Future<Output = i64> + Send;

    /// In one transaction: writes an effect, enqueues the jobs, writes another effect.
    fn transact(&mut self, client: &Client, jobs: Vec<RawJob>, end: End) -> impl Future<Output = Told> + Send;

    /// In one transaction: writes an effect and completes the run.
    fn complete(&mut self, ctx: JobContext) -> impl Future<Output = Result<Committed, Error>> + Send;

    /// Takes the lease of all that runs, as a later run would.
    fn steal() -> &'static str;

    fn effects(&mut self) -> impl Future<Output = i64> + Send {
        self.number("SELECT count(*) FROM effects")
    }
}

const EFFECT: &str = "INSERT INTO effects VALUES ('x')";

async fn enqueued(client: &Client) -> u64 {
    client.census().await.expect("census").enqueued
}

macro_rules! on_every_driver {
    ($($fact:ident)*) => {
        on_every_driver!(@ rusqlite crate::apps::Rusqlite: $($fact)*);
        on_every_driver!(@ tokio_postgres crate::apps::TokioPostgres: $($fact)*);
        on_every_driver!(@ sqlx_0_9 crate::sqlx_apps::Postgres09: $($fact)*);
        on_every_driver!(@ sqlx_0_8 crate::sqlx_apps::Postgres08: $($fact)*);
        on_every_driver!(@ sqlx_sqlite_0_9 crate::sqlx_apps::Sqlite09: $($fact)*);
    };
    (@ $driver:ident $app:ty: $($fact:ident)*) => {
        mod $driver {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                crate::facts::$fact::<$app>().await;
            })*
        }
    };
}

/// What is given up half-way, on the drivers whose calls have an await.
macro_rules! given_up {
    ($($driver:ident $app:ty;)*) => {
        $(mod $driver {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn an_enqueue_that_is_given_up_leaves_a_whole_job_or_none() {
                crate::dropped::an_enqueue_that_is_given_up_leaves_a_whole_job_or_none::<$app>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_completion_that_is_given_up_counts_with_its_effects_or_not_at_all() {
                crate::dropped::a_completion_that_is_given_up_counts_with_its_effects_or_not_at_all::<$app>().await;
            }
        })*
    };
}

on_every_driver! {
    a_job_exists_if_and_only_if_its_transaction_commits
    a_job_is_the_same_whoever_brings_it
    an_id_that_is_taken_is_a_duplicate
    a_key_is_taken_by_whoever_commits
    a_transaction_on_another_database_is_refused_and_can_go_on
    a_client_of_another_store_is_refused_and_the_transaction_can_go_on
    effects_and_the_end_of_their_run_commit_together
    effects_of_a_run_whose_lease_is_lost_are_rolled_back
    a_completion_on_another_database_is_refused_and_rolled_back
    exclusive_jobs_of_transactions_run_one_after_the_other
}

mod given_up {
    given_up! {
        tokio_postgres crate::apps::TokioPostgres;
        sqlx_0_9 crate::sqlx_apps::Postgres09;
        sqlx_0_8 crate::sqlx_apps::Postgres08;
        sqlx_sqlite_0_9 crate::sqlx_apps::Sqlite09;
    }
}
