//! Random histories must look the same on every store: the memory store is the model, the others the subjects.
//! 64 histories each time, and half as many of locks and of schedules alone; `PROPTEST_CASES=10000 cargo test` raises it.
#![cfg(feature = "testing")]

#[path = "../broken/mod.rs"]
#[allow(dead_code, reason = "the conformance controls need more of it")]
mod broken;
mod halves;
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
    testing::{Layer, Layered, ManualClock},
};

use self::{
    broken::{Broken, Fault, layers::*},
    halves::ByHalves,
    ops::{Op, history, of_locks, of_schedules},
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

/// The model of a store that lets a waiter's repeat count only once half of its place has passed.
fn by_halves() -> Side {
    let clock = ManualClock::new();
    let store = ByHalves::new(Arc::new(MemoryStore::new(clock.env())), clock.env());
    Side::new(Arc::new(Layered(store)), clock)
}

/// Goes through one history with the memory store as the model and `subject` beside it.
fn compare(history: &[Op], subject: impl AsyncFnOnce(ManualClock) -> Arc<dyn Backend>) -> Outcome {
    compare_with(memory, history, subject)
}

fn compare_with(
    model: impl Fn() -> Side,
    history: &[Op],
    subject: impl AsyncFnOnce(ManualClock) -> Arc<dyn Backend>,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clock = ManualClock::new();
        let store = subject(clock.clone()).await;
        Pair::new(model(), Side::new(store, clock)).run(history).await
    })
}

/// Goes through histories of everything, and half as many of locks and of schedules.
fn go_through(check: impl Fn(Vec<Op>) -> Result<(), TestCaseError>) {
    let half = || ProptestConfig { cases: config().cases.div_ceil(2), ..config() };
    for (config, histories) in
        [(config(), history(1..120).boxed()), (half(), of_locks(1..120).boxed()), (half(), of_schedules(1..80).boxed())]
    {
        if let Err(difference) = TestRunner::new(config).run(&histories, &check) {
            panic!("{difference}");
        }
    }
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
        compare_with(by_halves, &history, open).map_err(TestCaseError::fail)
    };
    go_through(check);
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
    go_through(check);
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
    go_through(check);
}

/// The model beside itself: a history that a store cannot repeat would make every comparison worthless.
#[test]
fn memory_does_the_same_twice() {
    let check = |history: Vec<Op>| {
        compare(&history, async |clock| Arc::new(MemoryStore::new(clock.env())) as Arc<dyn Backend>)
            .map_err(TestCaseError::fail)
    };
    go_through(check);
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
        let broken =
            |clock: ManualClock| -> Arc<dyn Backend> { Arc::new(Broken::new(MemoryStore::new(clock.env()), fault)) };
        tells_apart(&format!("{fault:?}"), history(60..120), broken);
    }
}

/// A memory store below a layer that does one thing wrong.
fn layered<L: Layer>(layer: fn(Arc<dyn Backend>) -> L) -> impl Fn(ManualClock) -> Arc<dyn Backend> {
    move |clock| Arc::new(Layered(layer(Arc::new(MemoryStore::new(clock.env())))))
}

fn tells_apart(fault: &str, histories: impl Strategy<Value = Vec<Op>>, open: impl Fn(ManualClock) -> Arc<dyn Backend>) {
    let check = |history: Vec<Op>| compare(&history, async |clock| open(clock)).map_err(TestCaseError::fail);
    let config = ProptestConfig { cases: 5000, max_shrink_iters: 0, ..config() };
    let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    assert!(TestRunner::new_with_rng(config, chance).run(&histories, check).is_err(), "{fault} was not found");
}

/// The same for what is done wrong with locks and schedules.
#[test]
fn broken_locks_and_schedules_are_told_from_the_model() {
    macro_rules! told {
        ($histories:ident: $($fault:ident)*) => {
            $(tells_apart(stringify!($fault), $histories(60..120), layered($fault));)*
        };
    }
    told!(of_locks: StandsInItsOwnWay RenewsTheLost ReleasesForAnybody LocksWithoutFences LocksWithoutALine KeepsDeadWaiters OneSlotTooMany
        LocksForLonger FallingFences BreaksNothing);
    told!(of_schedules: ChangesBlindly TicksInTwo CountsAnew);
}
