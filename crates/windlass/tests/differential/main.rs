//! Random histories must look the same on every store: the memory store is the model, the others the subjects.
//! 64 histories each time; `PROPTEST_CASES=10000 cargo test` raises it.
#![cfg(feature = "testing")]

#[path = "../broken/mod.rs"]
#[allow(dead_code, reason = "the conformance controls need more of it")]
mod broken;
mod ops;
mod pair;
#[cfg(any(feature = "redis", feature = "postgres"))]
#[path = "../servers/mod.rs"]
mod servers;

use std::sync::Arc;

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use windlass::{
    store::{Backend, memory::MemoryStore},
    testing::ManualClock,
};

use self::{
    broken::{Broken, Fault},
    ops::{Op, history},
    pair::{Outcome, Pair, Side},
};

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn memory() -> Side {
    let clock = ManualClock::new();
    Side::new(Arc::new(MemoryStore::new(clock.env())), clock)
}

/// Goes through one history with the memory store as the model and `subject` beside it.
fn compare(history: &[Op], subject: impl AsyncFnOnce(ManualClock) -> Arc<dyn Backend>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clock = ManualClock::new();
        let store = subject(clock.clone()).await;
        Pair::new(memory(), Side::new(store, clock)).run(history).await
    })
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_does_what_memory_does() {
    use windlass::store::{Create, sqlite::SqliteStore};
    let check = |history: Vec<Op>| {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("jobs.db");
        let path = path.to_str().expect("a path of text");
        let open = async |clock: ManualClock| {
            let store = SqliteStore::open(path, Create::IfMissing, clock.env()).await.expect("open");
            Arc::new(store) as Arc<dyn Backend>
        };
        compare(&history, open).map_err(TestCaseError::fail)
    };
    if let Err(difference) = TestRunner::new(config()).run(&history(1..120), check) {
        panic!("{difference}");
    }
}

/// Redis has a clock of its own, and its claims of several queues are a step in each.
#[cfg(feature = "redis")]
#[test]
fn redis_does_what_memory_does() {
    use windlass::store::redis::RedisStore;
    let check = |history: Vec<Op>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let outcome = runtime.block_on(async {
            let clock = ManualClock::new();
            let store = RedisStore::open_on_clock_of(&servers::redis_url(), clock.env()).await.expect("open");
            Pair::new(memory(), Side::new(Arc::new(store), clock)).apart().run(&history).await
        });
        outcome.map_err(TestCaseError::fail)
    };
    if let Err(difference) = TestRunner::new(config()).run(&history(1..120), check) {
        panic!("{difference}");
    }
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_does_what_memory_does() {
    use windlass::store::postgres::PostgresStore;
    let check = |history: Vec<Op>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let outcome = runtime.block_on(async {
            let clock = ManualClock::new();
            let url = servers::postgres::url();
            let store = PostgresStore::open_on_clock_of(&url, clock.env()).await.expect("open");
            Pair::new(memory(), Side::new(Arc::new(store), clock)).remote().run(&history).await
        });
        outcome.map_err(TestCaseError::fail)
    };
    if let Err(difference) = TestRunner::new(config()).run(&history(1..120), check) {
        panic!("{difference}");
    }
}

/// The model beside itself: a history that a store cannot repeat would make every comparison worthless.
#[test]
fn memory_does_the_same_twice() {
    let check = |history: Vec<Op>| {
        compare(&history, async |clock| Arc::new(MemoryStore::new(clock.env())) as Arc<dyn Backend>)
            .map_err(TestCaseError::fail)
    };
    if let Err(difference) = TestRunner::new(config()).run(&history(1..120), check) {
        panic!("{difference}");
    }
}

/// Negative control: a store that differs in one guard is told apart by some history. The histories are the same each
/// time: whether chance finds the rarest of the faults must not depend on the day.
#[test]
fn a_broken_store_is_told_from_the_model() {
    let faults = [
        Fault::UnfencedFinish,
        Fault::UnfencedExtend,
        Fault::UnfencedReport,
        Fault::TakesNewsAgain,
        Fault::ForgetsCheckpoints,
        Fault::ForgetsClaims,
        Fault::CrashIsFailure,
        Fault::NoPauseAfterOutage,
        Fault::SuspectsLikeOthers,
        Fault::DoublesRepeats,
        Fault::DeafToCancel,
        Fault::FollowsStale,
        Fault::NoPromoteLimit,
        Fault::UncheckedFlush,
        Fault::StaleFlush,
        Fault::NoPause,
        Fault::UncountedRemovals,
    ];
    for fault in faults {
        let check = |history: Vec<Op>| {
            let broken = |clock: ManualClock| Broken::new(MemoryStore::new(clock.env()), fault);
            compare(&history, async |clock| Arc::new(broken(clock)) as Arc<dyn Backend>).map_err(TestCaseError::fail)
        };
        let config = ProptestConfig { cases: 5000, max_shrink_iters: 0, ..config() };
        let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        assert!(
            TestRunner::new_with_rng(config, chance).run(&history(60..120), check).is_err(),
            "{fault:?} was not found"
        );
    }
}
