//! Faults around the Redis store, on a redis-server of each test's own: connections that are cut, half-open or away
//! (through a proxy), restarts, a full memory, and what is looked at when a store is opened.
//!
//! Nothing here sleeps to pass: waits are for events, with a bound after which the test fails.
#![cfg(all(feature = "redis", feature = "testing"))]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod acl;
mod bounds;
mod checks;
mod controls;
mod damage;
mod entries;
mod expiry;
mod full;
mod idle;
mod kinds;
mod locks;
#[path = "../server/log.rs"]
#[allow(dead_code, reason = "made for other tests, too")]
mod log;
mod lost;
mod monitor;
mod names;
mod order;
mod outage;
mod proxy;
#[path = "../servers/mod.rs"]
mod servers;

use std::{cell::Cell, future::Future, time::Duration};

use windlass::{
    Env, JobState as State, KindFilter, QueueName, ServerId,
    decide::queues::QueueShare,
    store::{ClaimRequest, Finish, Inspect, StoreError, redis::RedisStore},
};

use self::{
    proxy::{Lose, Proxy},
    servers::Server,
};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// A server behind a proxy, and a store that goes through it.
struct Place {
    server: Server,
    proxy: Proxy,
    env: Env,
    /// Whether the last call that was to lose something did.
    lost: Cell<bool>,
}

impl Place {
    async fn start() -> Self {
        Self::on(Server::start()).await
    }

    async fn on(server: Server) -> Self {
        let proxy = Proxy::before(server.port).await;
        Self { server, proxy, env: Env::system(), lost: Cell::new(false) }
    }

    /// The URL through the proxy, with parameters of ours.
    fn url(&self, parameters: &str) -> String {
        format!("redis://127.0.0.1:{}/0?{parameters}", self.proxy.port)
    }

    async fn open(&self, parameters: &str) -> RedisStore {
        RedisStore::open(&self.url(parameters), self.env.clone()).await.expect("open")
    }

    /// Makes a call that loses something on its way, and repeats it until it is answered.
    async fn lossy<T>(&self, loss: Lose, call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
        self.proxy.lose(loss);
        let (answer, _) = until_answered(&self.env, call).await;
        self.lost.set(!self.proxy.keep());
        answer
    }

    /// A connection that goes past the proxy.
    fn direct(&self) -> redis::Connection {
        redis::Client::open(self.server.url(0)).expect("a URL").get_connection().expect("a connection")
    }
}

/// A wait for an event that must come.
async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(60 * SECOND, event).await;
    waited.unwrap_or_else(|_| panic!("{what}: it never happened"))
}

/// Repeats a call as client and server do while the store is away; gives the answer and how often it was asked.
async fn until_answered<T>(env: &Env, mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> (T, u32) {
    for times in 1..=100 {
        match call().await {
            Ok(answer) => return (answer, times),
            Err(error) if error.is_retryable() => env.sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store does not come back");
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a queue")
}

fn claim(server: ServerId, sequence: u64, queues: &[&str], limit: u32) -> ClaimRequest {
    ClaimRequest {
        server,
        sequence,
        limit,
        slots: limit,
        quick: Default::default(),
        shares: queues.iter().map(|name| QueueShare { queue: queue(name), quota: limit }).collect(),
        kinds: KindFilter::all(),
        lease: LEASE,
        suspect: false,
    }
}

fn ended(lease: windlass::Lease, verdict: windlass::Verdict) -> Finish {
    let ran = Duration::from_millis(5);
    Finish { lease, verdict, error: None, result: None, then: Vec::new(), ran, news: Vec::new() }
}

/// How many jobs of all queues are in a state.
async fn count(store: &RedisStore, state: State) -> u64 {
    let census = store.census().await.expect("census");
    census.queues.iter().map(|queue| queue.by_state[state.code() as usize]).sum()
}
