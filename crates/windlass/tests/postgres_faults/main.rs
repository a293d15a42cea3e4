//! Faults around the Postgres store: connections that are cut, half-open or slow (through a proxy), backends that are
//! terminated, a server that crashes, restarts, is away or fails over to its standby, locks of others, rows that were damaged,
//! a pooler of transactions; and functions with a guard taken out, which the tests must find.
//!
//! Nothing here sleeps to pass: waits are for events, with a bound after which the test fails.
#![cfg(all(feature = "postgres", feature = "conformance"))]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod calls;
mod controls;
mod crash;
mod damage;
mod exclusive;
mod failover;
mod locks;
#[path = "../server/log.rs"]
#[allow(dead_code, reason = "made for other tests, too")]
mod log;
mod outage;
mod pooler;
#[path = "../redis_faults/proxy.rs"]
#[allow(dead_code, reason = "made for other tests, too")]
mod proxy;
mod restart;
#[path = "../servers/mod.rs"]
mod servers;
mod work;

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio_postgres::NoTls;
use windlass::{
    Env, KindFilter, QueueName, ServerId, Verdict,
    conformance::{Bench, Opened},
    decide::queues::QueueShare,
    store::{ClaimRequest, Create, Finish, StoreError, postgres::PostgresStore},
};

use self::proxy::Proxy;

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// A schema that nobody else uses, on a server, and a proxy before it.
struct Place {
    port: u16,
    proxy: Proxy,
    env: Env,
    schema: String,
}

impl Place {
    /// On the server that these tests share.
    async fn start() -> Self {
        Self::on(servers::postgres::own().port).await
    }

    async fn on(port: u16) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let schema = format!("faults_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { port, proxy: Proxy::before(port).await, env: Env::system(), schema }
    }

    /// The URL through the proxy, with parameters of ours.
    fn url(&self, parameters: &str) -> String {
        format!("{}&{parameters}", of(self.proxy.port, &self.schema))
    }

    /// The URL past it.
    fn direct_url(&self) -> String {
        of(self.port, &self.schema)
    }

    async fn open(&self, parameters: &str) -> PostgresStore {
        open(&self.url(parameters)).await
    }

    /// A bench with a store that goes through the proxy.
    async fn bench(&self, parameters: &str) -> Bench {
        let url = self.url(parameters);
        Bench::open(async move |env| Opened::new(PostgresStore::open_on_clock_of(&url, env).await.expect("open"))).await
    }

    /// A connection of somebody else's, past the proxy, whose statements are for our schema.
    async fn database(&self) -> tokio_postgres::Client {
        connect(self.port, &self.schema).await
    }
}

fn of(port: u16, schema: &str) -> String {
    format!("postgres://windlass@127.0.0.1:{port}/postgres?schema={schema}")
}

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(url, Create::IfMissing, Env::system()).await.expect("open")
}

async fn connect(port: u16, schema: &str) -> tokio_postgres::Client {
    let url = format!("postgres://windlass@127.0.0.1:{port}/postgres");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("connect");
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path = {schema}")).await.expect("the schema");
    client
}

/// A wait for an event that must come.
async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(90 * SECOND, event).await;
    waited.unwrap_or_else(|_| panic!("{what}: it never happened"))
}

/// Repeats a call as client and server do while the store is away; gives the answer and how often it was asked.
async fn until_answered<T>(env: &Env, mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> (T, u32) {
    for times in 1..=200 {
        match call().await {
            Ok(answer) => return (answer, times),
            Err(error) if error.is_retryable() => env.sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store does not come back");
}

fn claim(server: ServerId, sequence: u64, limit: u32) -> ClaimRequest {
    ClaimRequest {
        server,
        sequence,
        limit,
        slots: limit,
        quick: Default::default(),
        shares: vec![QueueShare { queue: QueueName::new("default").expect("a queue"), quota: limit }],
        kinds: KindFilter::all(),
        lease: LEASE,
        suspect: false,
    }
}

fn ended(lease: windlass::Lease, verdict: Verdict) -> Finish {
    let ran = Duration::from_millis(5);
    Finish { lease, verdict, error: None, result: None, then: Vec::new(), ran, news: Vec::new() }
}
