//! Enqueueing and completing in the caller's own transaction.

use super::*;
use crate::{
    error::Error,
    store::{
        Backend, StoreError,
        memory::MemoryStore,
        tx::{CompleteIn, EnqueueIn},
    },
};

async fn place_with_orders() -> (Place, Arc<SqliteStore>, Connection) {
    let place = Place::new();
    let store = place.open().await;
    let app = place.raw();
    app.execute_batch("CREATE TABLE orders (id)").unwrap();
    (place, store, app)
}

#[tokio::test]
async fn a_job_exists_if_and_only_if_its_transaction_commits() {
    let (place, store, mut app) = place_with_orders().await;
    for (id, commits) in [("rolled back", false), ("committed", true)] {
        let mut tx = app.transaction().unwrap();
        tx.execute("INSERT INTO orders VALUES (1)", []).unwrap();
        assert!(tx.enqueue_in(&*store, Ok(job(id))).unwrap().is_new());
        if commits { tx.commit().unwrap() } else { tx.rollback().unwrap() }
    }
    assert_eq!(place.number("SELECT count(*) FROM orders"), 1);
    assert_eq!(place.number("SELECT enqueued FROM windlass_counter"), 1);
    assert_eq!(ids(&claim(&store, 1, 9).await), ["committed"]);
}

#[tokio::test]
async fn a_key_taken_in_a_transaction_that_is_rolled_back_is_free() {
    let (_place, store, mut app) = place_with_orders().await;
    let keyed = |id: &str| {
        let options = JobOptions::new().id(id).unique(crate::job::UniqueBy::until_done("key"));
        options.resolve(&Kind::new("k").unwrap(), b"{}".to_vec().into(), || unreachable!("it has an id"), 64).unwrap()
    };
    for (id, commits) in [("loser", false), ("winner", true)] {
        let mut tx = app.transaction().unwrap();
        assert!(tx.enqueue_in(&*store, Ok(keyed(id))).unwrap().is_new(), "{id}");
        if commits { tx.commit().unwrap() } else { tx.rollback().unwrap() }
    }
    let answers = store.enqueue(vec![keyed("late")]).await.unwrap();
    assert_eq!((answers[0].is_new(), answers[0].id().to_string()), (false, "winner".into()), "the control");
}

#[tokio::test]
async fn two_calls_in_one_transaction_and_the_writers_own_agree_on_all_numbers() {
    let (place, store, mut app) = place_with_orders().await;
    store.enqueue(vec![job("a")]).await.unwrap();
    let mut tx = app.transaction().unwrap();
    assert!(tx.enqueue_in(&*store, Ok(job("b"))).unwrap().is_new());
    assert!(!tx.enqueue_in(&*store, Ok(job("a"))).unwrap().is_new());
    assert!(tx.enqueue_in(&*store, Ok(job("c"))).unwrap().is_new());
    tx.commit().unwrap();
    store.enqueue(vec![job("d")]).await.unwrap();
    assert_eq!(place.number("SELECT pending FROM windlass_line"), 4);
    assert_eq!(ids(&claim(&store, 1, 9).await), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_transaction_elsewhere_is_refused_and_stays_usable() {
    let (_place, store, mut app) = place_with_orders().await;
    let (other, other_store, _) = place_with_orders().await;
    let plain = Place::new();
    plain.raw().execute_batch("CREATE TABLE orders (id)").unwrap();
    for (elsewhere, ours) in [(&other, &store), (&plain, &store)] {
        let mut conn = elsewhere.raw();
        let mut tx = conn.transaction().unwrap();
        tx.execute("INSERT INTO orders VALUES (1)", []).unwrap();
        let refused = tx.enqueue_in(&**ours, Ok(job("a"))).unwrap_err();
        assert!(matches!(refused, Error::Store(StoreError::Invalid(_))), "{refused}");
        tx.commit().unwrap();
        assert_eq!(elsewhere.number("SELECT count(*) FROM orders"), 1);
    }
    let memory: &dyn Backend = &MemoryStore::new(Env::system());
    let refused = app.transaction().unwrap().enqueue_in(memory, Ok(job("a"))).unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::Unsupported(_))), "{refused}");
    assert!(claim(&other_store, 1, 9).await.jobs.is_empty());
}

#[tokio::test]
async fn a_call_that_fails_leaves_nothing_behind_in_the_callers_transaction() {
    let (place, store, mut app) = place_with_orders().await;
    let pages = place.number("PRAGMA page_count");
    app.pragma_update(None, "max_page_count", pages + 8).unwrap();
    let mut tx = app.transaction().unwrap();
    // The row fits, the payload beside it does not.
    let refused = tx.enqueue_in(&*store, Ok(job_of("big", vec![7; 1 << 20]))).unwrap_err();
    assert!(matches!(&refused, Error::Store(StoreError::Unavailable(_))), "{refused}");
    drop(tx);
    app.execute_batch("INSERT INTO orders VALUES (1)").unwrap();
    assert_eq!(place.number("SELECT count(*) FROM windlass_job"), 0);
    assert_eq!(place.number("SELECT enqueued FROM windlass_counter"), 0);
}

#[tokio::test]
async fn a_run_is_completed_with_its_effects_or_not_at_all() {
    let (place, store, mut app) = place_with_orders().await;
    store.enqueue(vec![job("a")]).await.unwrap();
    let lease = claim(&store, 1, 9).await.jobs[0].lease();
    let stale = Lease { fence: crate::job::Fence(lease.fence.0 - 1), ..lease.clone() };
    for (lease, holds) in [(stale, false), (lease.clone(), true), (lease, false)] {
        let (told, heard) = std::sync::mpsc::channel();
        let tx = app.transaction().unwrap();
        tx.execute("INSERT INTO orders VALUES (1)", []).unwrap();
        let committed = Box::new(move || told.send(()).unwrap());
        let answer = tx.complete_in(&*store, report(lease, Verdict::Complete), committed);
        assert_eq!(heard.try_recv().is_ok(), holds);
        match answer {
            Ok(_) => assert!(holds),
            Err(error) => assert!(!holds && matches!(error, Error::Stale(_)), "{error}"),
        }
    }
    assert_eq!(place.number("SELECT count(*) FROM orders"), 1, "a stale run's effects are rolled back");
    assert_eq!(place.number("SELECT removed FROM windlass_counter"), 1);
}
