//! Several stores and the application's own connections on one file.

use super::*;
use crate::store::Inspect;

/// Longer than any wake-up may take on a busy machine; nobody waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_one_store_enqueues_wakes_the_other_which_takes_it() {
    let place = Place::new();
    let (ours, theirs) = (place.open().await, place.open().await);
    let mut wakeups = theirs.wakeups();
    for round in 1..=20 {
        wakeups.mark_seen();
        let id = format!("job {round}");
        ours.enqueue(vec![job(&id)]).await.unwrap();
        loop {
            let taken = claim(&theirs, round, 9).await;
            if !taken.jobs.is_empty() {
                assert_eq!(ids(&taken), [id]);
                break;
            }
            tokio::time::timeout(PATIENCE, wakeups.changed()).await.expect("no wake-up came");
        }
    }
}

#[tokio::test]
async fn a_commit_of_the_applications_own_connection_wakes_the_store() {
    use crate::store::tx::EnqueueIn;
    let place = Place::new();
    let store = place.open().await;
    let mut app = place.raw();
    let mut wakeups = store.wakeups();
    let mut tx = app.transaction().unwrap();
    tx.enqueue_in(&*store, Ok(job("a"))).unwrap();
    wakeups.mark_seen();
    assert!(claim(&store, 1, 9).await.jobs.is_empty(), "not before the commit");
    tx.commit().unwrap();
    tokio::time::timeout(PATIENCE, wakeups.changed()).await.expect("no wake-up came");
    assert_eq!(ids(&claim(&store, 2, 9).await), ["a"]);
}

#[tokio::test]
async fn a_store_waits_for_another_writer_and_gives_up_in_time() {
    let place = Place::new();
    let store = place.open().await;
    let app = place.raw();
    app.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.enqueue(vec![job("a")]).await }
    });
    // Readers do not wait for anybody.
    assert_eq!(store.census().await.unwrap().enqueued, 0);
    app.execute_batch("COMMIT").unwrap();
    assert!(waiting.await.unwrap().is_ok());

    let hasty = SqliteStore::open(&place.url("?busy_timeout=20ms"), Create::Never, Env::system()).await.unwrap();
    app.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = hasty.enqueue(vec![job("b")]).await.unwrap_err();
    assert!(refused.is_retryable() && refused.to_string().contains("busy_timeout"), "{refused}");
    app.execute_batch("COMMIT").unwrap();
    assert!(hasty.enqueue(vec![job("b")]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_open_at_once_make_one_store() {
    let place = Place::new();
    let url = place.url("");
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { SqliteStore::open(&url, Create::IfMissing, Env::system()).await })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM windlass_migration"), super::super::migrate::VERSION);
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_on_one_file_take_no_job_twice_and_lose_none() {
    const JOBS: usize = 400;
    let place = Place::new();
    let stores = [place.open().await, place.open().await, place.open().await];
    let work = |store: Arc<SqliteStore>, server: u128| async move {
        let mut taken = Vec::new();
        for sequence in 1.. {
            let asked = ClaimRequest { server: ServerId(uuid::Uuid::from_u128(server)), ..request(sequence, 7) };
            let claim = store.claim(&asked).await.unwrap();
            if claim.jobs.is_empty() {
                return taken;
            }
            let reports = claim.jobs.iter().map(|job| report(job.lease(), Verdict::Complete)).collect();
            store.finish(reports).await.unwrap();
            taken.extend(ids(&claim));
        }
        taken
    };
    stores[0].enqueue((0..JOBS).map(|number| job(&number.to_string())).collect()).await.unwrap();
    let workers: Vec<_> =
        stores.iter().zip(1..).map(|(store, server)| tokio::spawn(work(store.clone(), server))).collect();
    let mut taken = Vec::new();
    for worker in workers {
        taken.extend(worker.await.unwrap());
    }
    assert_eq!(taken.len(), JOBS);
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), JOBS, "a job was taken twice");
    let census = stores[1].census().await.unwrap();
    assert_eq!((census.enqueued, census.removed), (JOBS as u64, JOBS as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_applications_own_pool_writes_at_the_same_time_and_nobody_loses() {
    use crate::store::tx::EnqueueIn;
    const ORDERS: usize = 60;
    let place = Arc::new(Place::new());
    let store = place.open().await;
    place.raw().execute_batch("CREATE TABLE orders (id)").unwrap();
    // Two connections of the application, each writing its own rows and a job with each; every third is rolled back.
    let write = |connection: usize, store: Arc<SqliteStore>, place: Arc<Place>| {
        move || {
            let mut app = place.raw();
            for order in 0..ORDERS {
                let tx = rusqlite::TransactionBehavior::Immediate;
                let mut tx = app.transaction_with_behavior(tx).unwrap();
                let id = format!("{connection}-{order}");
                tx.execute("INSERT INTO orders VALUES (?1)", [&id]).unwrap();
                assert!(tx.enqueue_in(&*store, Ok(job(&id))).unwrap().is_new());
                if order % 3 == 2 { tx.rollback().unwrap() } else { tx.commit().unwrap() }
            }
        }
    };
    let pool = [0, 1].map(|n| tokio::task::spawn_blocking(write(n, store.clone(), place.clone())));
    for number in 0..ORDERS {
        assert!(store.enqueue(vec![job(&format!("own-{number}"))]).await.unwrap()[0].is_new());
        claim(&store, number as u64 + 1, 1).await;
    }
    for connection in pool {
        connection.await.unwrap();
    }
    let orders = place.number("SELECT count(*) FROM orders");
    assert_eq!(orders as usize, 2 * ORDERS * 2 / 3);
    assert_eq!(place.number("SELECT count(*) FROM windlass_job j JOIN orders o ON j.id = o.id"), orders);
    assert_eq!(store.census().await.unwrap().enqueued as usize, orders as usize + ORDERS);
    let check: String = place.raw().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}
