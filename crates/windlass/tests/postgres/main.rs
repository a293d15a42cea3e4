//! What is Postgres's alone: connections that are ended, locks of others, migrations, hints between processes, TLS. Calls
//! that are given up are in `cancel.rs`, the SQL function in `function.rs`, history in parts in `days.rs`; the caller's own
//! transactions are in `tests/transactions`.
#![cfg(all(feature = "postgres", feature = "conformance"))]

mod cancel;
mod claims;
mod cpu;
mod days;
mod doctor;
mod enqueues;
mod function;
mod isolation;
mod migrations;
mod numbers;
mod plans;
#[path = "../servers/mod.rs"]
mod servers;

use std::{sync::Arc, time::Duration};

use servers::postgres::{Server, url};
use tokio_postgres::NoTls;
use windlass::{
    Action, Client, Env, Error, JobOptions, JobState, RawJob, StoreError, Verdict,
    conformance::{Bench, LEASE, Opened},
    store::{Backend, Create, Finished, Operate, Store, postgres::PostgresStore},
};

/// A connection of the application's own to the database of a store, and its schema.
async fn application(url: &str) -> (tokio_postgres::Client, String) {
    let (place, schema) = url.split_once("?schema=").expect("a schema of its own");
    let (client, connection) = tokio_postgres::connect(place, NoTls).await.expect("connect");
    tokio::spawn(connection);
    (client, schema.to_owned())
}

async fn open(url: &str) -> Client {
    Client::open(url).await.expect("open")
}

fn job(id: &str) -> RawJob {
    RawJob::new("work", "{}").with(|options| options.id(id))
}

async fn enqueued(client: &Client) -> u64 {
    client.census().await.expect("census").enqueued
}

async fn bench(url: &str) -> Bench {
    let url = url.to_owned();
    Bench::open(async move |env| Opened::new(PostgresStore::open_on_clock_of(&url, env).await.expect("open"))).await
}

/// A handler that completes in its own transaction holds its row for as long as it takes.
#[tokio::test]
async fn a_job_that_somebody_has_locked_is_held_and_holds_up_nobody() {
    let url = url();
    let bench = bench(&url).await;
    let ids = bench.add_many(3).await;
    let jobs = bench.claim(3).await;
    let (mut app, schema) = application(&url).await;
    let tx = app.transaction().await.unwrap();
    let lock = format!("SELECT 1 FROM {schema}.job WHERE id = $1 FOR UPDATE");
    tx.query(&lock, &[&ids[1].to_string()]).await.unwrap();
    for _ in 0..9 {
        bench.pass(LEASE / 3).await;
        let leases: Vec<_> = jobs.iter().map(|job| job.lease()).collect();
        assert_eq!(bench.extend(&leases).await, []);
        assert_eq!(bench.rescue().await, []);
    }
    assert!(matches!(bench.finish(jobs[0].lease(), Verdict::Complete).await, Finished::Applied(_)));
    // Its server is gone; its transaction is still open.
    bench.lapse().await;
    let rescued: Vec<_> = bench.rescue().await.into_iter().map(|job| job.id).collect();
    assert_eq!(rescued, [ids[2].clone()]);
    tx.rollback().await.unwrap();
    let rescued: Vec<_> = bench.rescue().await.into_iter().map(|job| job.id).collect();
    assert_eq!(rescued, [ids[1].clone()], "the control: nobody locks it any more");
}

#[tokio::test]
async fn connections_that_the_server_ends_cost_a_call_at_most() {
    let url = url();
    let client = open(&format!("{url}&application_name=victim_{}", std::process::id())).await;
    let (app, _) = application(&url).await;
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'victim_{}'",
        std::process::id()
    );
    for round in 0..3 {
        client.enqueue(job(&format!("{round}"))).await.expect("it repeats by itself");
        let ended: i64 = app.query_one(&end, &[]).await.unwrap().get(0);
        assert!(ended > 0, "the control: there was somebody to end");
    }
    client.enqueue(job("last")).await.expect("it repeats by itself");
    assert_eq!(enqueued(&client).await, 4);
}

#[tokio::test]
async fn processes_that_open_a_new_store_at_once_make_it_once() {
    let url = url();
    let opening: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn({
                let url = url.clone();
                async move { open(&url).await }
            })
        })
        .collect();
    for (number, opened) in opening.into_iter().enumerate() {
        opened.await.unwrap().enqueue(job(&number.to_string())).await.unwrap();
    }
    assert_eq!(enqueued(&open(&url).await).await, 6);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_made_only_where_it_may_be() {
    let url = url();
    let refused = Client::open(&format!("{url}&migrate=off")).await;
    assert!(
        matches!(&refused, Err(Error::Store(StoreError::Unavailable(text))) if text.contains("migrate=off") && text.contains("`windlass migrate up --store ")),
        "{refused:?}"
    );
    let refused = Client::builder().create(Create::Never).open(&url).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::Unavailable(_)))));
    open(&url).await;
    assert!(Client::open(&format!("{url}&migrate=off")).await.is_ok());
    assert!(Client::builder().create(Create::Never).open(&url).await.is_ok());
}

#[tokio::test]
async fn a_schema_of_somebody_else_or_of_a_newer_program_is_refused_and_left_as_it_is() {
    let url = url();
    let (app, schema) = application(&url).await;
    app.batch_execute(&format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.job (mine int)")).await.unwrap();
    assert!(matches!(Client::open(&url).await, Err(Error::Store(StoreError::Corrupt(_)))));
    app.batch_execute(&format!("DROP TABLE {schema}.job")).await.unwrap();
    open(&url).await;
    let newer = format!("INSERT INTO {schema}.migration (version, min_compatible) VALUES (1000, 1000)");
    app.batch_execute(&newer).await.unwrap();
    let refused = Client::open(&url).await;
    assert!(matches!(&refused, Err(Error::Store(StoreError::Corrupt(text))) if text.contains("newer")), "{refused:?}");
}

#[tokio::test]
async fn another_process_is_told_of_new_work_unless_nobody_is_to_be_told() {
    let url = url();
    let told = async |parameters: &str| {
        let here = open(&url).await;
        let there = PostgresStore::open(&format!("{url}{parameters}"), Create::IfMissing, Env::system()).await.unwrap();
        // It wakes once for having begun to listen; then it hears.
        let mut wakeups = there.wakeups();
        let mut woken = false;
        for round in 0..20 {
            wakeups.mark_seen();
            here.enqueue(job(&format!("{parameters}{round}"))).await.unwrap();
            woken = tokio::time::timeout(Duration::from_millis(500), wakeups.changed()).await.is_ok();
        }
        woken
    };
    assert!(told("").await);
    assert!(!told("&notify=off").await, "the control");
}

#[tokio::test]
async fn a_transaction_of_two_phases_brings_jobs_where_nobody_is_to_be_told() {
    let server = Server::start_with("-c max_prepared_transactions=5");
    let client = open(&format!("{}?notify=off", server.url())).await;
    let (mut app, connection) = tokio_postgres::connect(&server.url(), NoTls).await.expect("connect");
    tokio::spawn(connection);
    let mut tx = app.transaction().await.unwrap();
    client.enqueue_in(&mut tx, job("a")).await.unwrap();
    tx.batch_execute("PREPARE TRANSACTION 'both'").await.expect("it has told nobody");
    drop(tx);
    assert_eq!(enqueued(&client).await, 0);
    app.batch_execute("COMMIT PREPARED 'both'").await.unwrap();
    assert_eq!(enqueued(&client).await, 1);
}

#[tokio::test]
async fn an_operator_who_meets_a_change_decides_anew() {
    let store = Arc::new(PostgresStore::open_on_clock_of(&url(), Env::system()).await.unwrap());
    let bench = Bench::open({
        let store = store.clone();
        async move |_| Opened::shared(store as Arc<dyn Backend>)
    })
    .await;
    for _ in 0..5 {
        let id = bench.add(JobOptions::new()).await;
        let (request, cancel) = (bench.request(1), Action::Cancel { reason: "x".into() });
        let (claimed, operated) = tokio::join!(store.claim(&request), store.operate(&id, &cancel));
        let (taken, state) = (claimed.unwrap().jobs.len(), bench.state(&id).await);
        operated.unwrap();
        // Either it was cancelled in line, or it runs and is told to stop.
        assert_eq!(state == JobState::Running, taken == 1, "{state}");
        let told = bench.record(&id).await.cancel_requested.is_some();
        assert_eq!(told, taken == 1);
    }
}

#[tokio::test]
async fn a_store_over_tls_trusts_the_certificate_that_it_is_told_of_and_no_other() {
    let of_tests = |file: &str| format!("{}/tests/servers/tls/{file}", env!("CARGO_MANIFEST_DIR"));
    let server = Server::start_tls(&of_tests("cert.pem"), &of_tests("key.pem"));
    let url = format!("{}?sslmode=verify-full", server.url());
    let client = open(&format!("{url}&ca={}", of_tests("ca.pem"))).await;
    client.enqueue(job("a")).await.expect("enqueue");
    let (app, connection) = tokio_postgres::connect(&server.url(), NoTls).await.expect("connect");
    tokio::spawn(connection);
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE ssl AND application_name = 'windlass'";
    assert!(app.query_one(encrypted, &[]).await.unwrap().get::<_, i64>(0) > 0);
    let refused = Client::open(&format!("{url}&timeout=2s")).await;
    assert!(matches!(refused, Err(Error::Store(_))), "the control: nobody vouches for it");
}
