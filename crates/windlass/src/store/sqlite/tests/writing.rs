//! The writer: groups, durability, what is written and what is not, and a disk that is full.

use std::sync::mpsc;

use bytes::Bytes;

use super::{
    super::{fault::Fault, step::Step},
    *,
};
use crate::{
    job::{ErrorClass, Line, News, Timestamp, UniqueBy},
    store::{Failure, Finished, Operate, PromoteRules, Prune, Report, StoreError},
    testing::ManualClock,
};

/// Keeps the writer busy until the answer is dropped, so that what is sent meanwhile makes one group.
async fn hold(store: &Arc<SqliteStore>) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (began, begun) = tokio::sync::oneshot::channel();
    let (store, mut began) = (store.clone(), Some(began));
    tokio::spawn(async move {
        let wait = move |_: &mut Step<'_>| {
            if let Some(began) = began.take() {
                let _ = began.send(());
            }
            let _ = released.recv();
            Ok(())
        };
        store.write(wait).await
    });
    begun.await.unwrap();
    release
}

fn refuse(_: &mut Step<'_>) -> super::super::fault::Done<()> {
    Err(Fault::Store(StoreError::Invalid("no".into())))
}

#[tokio::test]
async fn a_bad_operation_of_a_group_fails_alone() {
    let place = Place::new();
    let store = place.open().await;
    let held = hold(&store).await;
    let enqueue = |id| {
        let store = store.clone();
        async move { store.enqueue(vec![job(id)]).await }
    };
    let good = [tokio::spawn(enqueue("a")), tokio::spawn(enqueue("b"))];
    let bad = tokio::spawn({
        let store = store.clone();
        async move { store.write(refuse).await }
    });
    tokio::task::yield_now().await;
    drop(held);
    for good in good {
        assert!(good.await.unwrap().is_ok());
    }
    assert!(matches!(bad.await.unwrap(), Err(StoreError::Invalid(_))));
    let mut taken = ids(&claim(&store, 1, 9).await);
    taken.sort();
    assert_eq!(taken, ["a", "b"]);
}

#[tokio::test]
async fn only_what_is_acknowledged_as_durable_is_synced() {
    let place = Place::new();
    let store = place.open().await;
    let level = |step: &mut Step<'_>| Ok(step.conn.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?);
    assert_eq!(store.write(level).await.unwrap(), 2, "FULL");
    assert_eq!(store.step(|_, _, _| Ok(None), level).await.unwrap(), 1, "NORMAL");
    assert_eq!(store.write(level).await.unwrap(), 2, "FULL");
    let off = SqliteStore::open(&place.url("?synchronous=off"), Create::Never, Env::system()).await.unwrap();
    assert_eq!(off.write(level).await.unwrap(), 0, "OFF");
    assert_eq!(off.step(|_, _, _| Ok(None), level).await.unwrap(), 0, "OFF");
}

#[tokio::test]
async fn a_claim_with_nothing_to_take_and_a_promotion_with_nothing_due_write_nothing() {
    let place = Place::new();
    let store = place.open().await;
    store.enqueue(vec![job("a")]).await.unwrap();
    assert_eq!(claim(&store, 1, 9).await.jobs.len(), 1);
    let before = std::fs::read(super::super::open::wal_of(&place.path())).unwrap();
    for sequence in 2..20 {
        assert!(claim(&store, sequence, 9).await.jobs.is_empty());
        assert_eq!(store.promote(&PromoteRules::all(100)).await.unwrap().moved, 0);
    }
    assert!(before == std::fs::read(super::super::open::wal_of(&place.path())).unwrap());
    store.enqueue(vec![job("b")]).await.unwrap();
    assert!(before != std::fs::read(super::super::open::wal_of(&place.path())).unwrap(), "the control");
}

#[tokio::test]
async fn a_full_disk_refuses_the_group_loses_nothing_and_the_store_goes_on_with_space() {
    let place = Place::new();
    let store = place.open().await;
    store.enqueue(vec![job("kept")]).await.unwrap();
    let limit = |pages: i64| {
        move |step: &mut Step<'_>| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            Ok(step.conn.query_row(&sql, [], |row| row.get::<_, i64>(0))?)
        }
    };
    let pages = place.number("PRAGMA page_count");
    store.write(limit(pages + 2)).await.unwrap();
    let big = || job_of("big", vec![7; 1 << 20]);
    let refused = store.enqueue(vec![job("with it"), big()]).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(text) if text.contains("disk is full")), "{refused}");
    assert_eq!(place.number("SELECT count(*) FROM windlass_job"), 1, "all or none");

    store.write(limit(1 << 30)).await.unwrap();
    assert!(store.enqueue(vec![big()]).await.unwrap()[0].is_new());
    assert_eq!(ids(&claim(&store, 1, 9).await), ["kept", "big"]);
    assert_eq!(place.number("SELECT enqueued FROM windlass_counter"), 2);
}

#[tokio::test]
async fn a_large_payload_stands_apart_and_comes_back_whole() {
    let place = Place::new();
    let store = place.open().await;
    let large: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
    store.enqueue(vec![job_of("large", large.clone()), job("small")]).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM windlass_side"), 1);
    assert_eq!(place.number("SELECT count(*) FROM windlass_job WHERE length(payload) > 1024"), 0);
    let taken = claim(&store, 1, 9).await.jobs;
    assert_eq!(taken[0].spec.payload, large);
    let reports = taken.iter().map(|job| report(job.lease(), Verdict::Complete)).collect();
    assert!(store.finish(reports).await.unwrap().iter().all(|answer| matches!(answer, Finished::Applied(_))));
    assert_eq!(place.number("SELECT count(*) FROM windlass_side"), 0);
}

#[tokio::test]
async fn what_stands_in_other_tables_goes_with_the_job() {
    let place = Place::new();
    let store = place.open().await;
    store.enqueue(vec![job("a")]).await.unwrap();
    let lease = claim(&store, 1, 1).await.jobs[0].lease();
    let news = News {
        number: 1,
        checkpoint: Some(Bytes::from_static(b"5")),
        lines: vec![Line::new(Timestamp::default(), "line")],
        ..News::default()
    };
    store.report(vec![Report { lease: lease.clone(), news }]).await.unwrap();
    let error = Some(Failure { class: ErrorClass::Error, message: "no route".into() });
    store.finish(vec![Finish { error, ..report(lease, Verdict::RetryIn(Duration::ZERO)) }]).await.unwrap();
    store.promote(&PromoteRules::all(9)).await.unwrap();
    let rows = "SELECT (SELECT count(*) FROM windlass_side) + (SELECT count(*) FROM windlass_report)
        + (SELECT count(*) FROM windlass_checkpoint) + (SELECT count(*) FROM windlass_log)";
    assert_eq!(place.number(rows), 4);
    let lease = claim(&store, 2, 1).await.jobs[0].lease();
    store.finish(vec![report(lease, Verdict::Complete)]).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM windlass_job"), 0);
    assert_eq!(place.number(rows), 0);
}

#[tokio::test]
async fn a_nul_in_any_text_fails_nobody() {
    let place = Place::new();
    let store = place.open().await;
    store.enqueue(vec![job("a"), job("b")]).await.unwrap();
    let mut reports: Vec<_> =
        claim(&store, 1, 9).await.jobs.iter().map(|job| report(job.lease(), Verdict::Complete)).collect();
    reports[0].verdict = Verdict::Cancel("why\0not".into());
    reports[0].error = Some(crate::store::Failure { class: crate::job::ErrorClass::Error, message: "\0".into() });
    let answers = store.finish(reports).await.unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Finished::Applied(_))), "{answers:?}");
    assert_eq!(place.number("SELECT count(*) FROM windlass_job WHERE state = 8"), 1);
}

#[tokio::test]
async fn renewing_a_part_of_a_claim_renews_only_that() {
    let place = Place::new();
    let store = place.open().await;
    store.enqueue(vec![job("a"), job("b"), job("c")]).await.unwrap();
    let jobs = claim(&store, 1, 9).await.jobs;
    let ends = "SELECT count(DISTINCT until_mono) FROM windlass_lease";
    let leases: Vec<_> = jobs.iter().map(|job| job.lease()).collect();
    assert!(store.extend(&renewal(leases.clone())).await.unwrap().is_empty());
    assert_eq!(place.number("SELECT count(*) FROM windlass_lease"), 1, "the whole of it is one row");
    assert!(store.extend(&renewal(leases[..1].to_vec())).await.unwrap().is_empty());
    assert_eq!(place.number("SELECT count(*) FROM windlass_lease"), 2);
    assert_eq!(place.number(ends), 2);
    let reports = leases.into_iter().map(|lease| report(lease, Verdict::Complete)).collect();
    assert!(store.finish(reports).await.unwrap().iter().all(|answer| matches!(answer, Finished::Applied(_))));
    assert_eq!(place.number("SELECT count(*) FROM windlass_lease"), 0, "a lease goes with its last job");
}

#[tokio::test]
async fn many_callers_at_once_are_all_answered() {
    let place = Place::new();
    let store = place.open().await;
    let call = |number: usize| {
        let store = store.clone();
        async move { store.enqueue(vec![job(&format!("job {number}"))]).await.unwrap()[0].is_new() }
    };
    let calls: Vec<_> = (0..500).map(|number| tokio::spawn(call(number))).collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert_eq!(place.number("SELECT pending FROM windlass_line"), 500);
}

#[tokio::test]
async fn a_prune_says_that_there_is_more_until_keys_and_minutes_are_gone_as_well() {
    let place = Place::new();
    let clock = ManualClock::new();
    let store = SqliteStore::open(&place.url(""), Create::IfMissing, clock.env()).await.unwrap();
    for n in 0..25 {
        let options = JobOptions::new().tenant(format!("t{n}")).unique(UniqueBy::idempotency(&n, LEASE));
        let id = || format!("{n}").parse().unwrap();
        let new = options.resolve(&Kind::new("k").unwrap(), "{}".into(), id, 100).unwrap();
        store.enqueue(vec![new]).await.unwrap();
        let lease = claim(&store, n + 1, 1).await.jobs[0].lease();
        store.finish(vec![report(lease, Verdict::Complete)]).await.unwrap();
    }
    clock.advance(Duration::from_secs(36 * 24 * 3600));
    let mut steps = 0;
    while store.prune(&Prune::Expired, 10).await.unwrap().more {
        steps += 1;
    }
    assert_eq!(steps, 2);
    for table in ["windlass_key", "windlass_tenant_bucket", "windlass_bucket"] {
        assert_eq!(place.number(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}
