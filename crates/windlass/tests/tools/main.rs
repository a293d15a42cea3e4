//! The tools for one process: worker pool, job queue, retry, tickers. On simulated time, so that hours pass in
//! milliseconds and every run is the same; only what needs several threads runs on real ones, and waits for events.
#![cfg(feature = "testing")]

mod cron;
mod job_queue;
mod periodic;
mod pool;
mod retry;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use windlass::testing::World;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a test on simulated time. One that hangs fails, after a day of its own time.
fn on_simulated_time(test: impl AsyncFnOnce(World)) {
    World::run(1, async |world| {
        let test = test(world.clone());
        tokio::time::timeout(24 * HOUR, test).await.expect("the test hangs");
    });
}

/// A number that several count on.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Counter {
    fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Tells when it is dropped.
struct OnDrop(Counter);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}
