//! A real server works while Postgres is killed and started again and again (`pg_ctl restart -m immediate`), and callers
//! enqueue meanwhile, some in transactions of their own. What was acknowledged is there; what was rolled back is not; each
//! job completes and its end is accepted once.

use std::collections::BTreeSet;

use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;
use windlass::{Client, EventKind, JobOptions, RawJob, store::Create};

use crate::{
    Place, SECOND,
    servers::postgres::Server,
    soon,
    work::{Work, add},
};

/// `WINDLASS_RESTARTS` says how often.
fn restarts() -> usize {
    std::env::var("WINDLASS_RESTARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Writes a row and enqueues a job of the same name in one transaction, again and again, and rolls every third one back.
/// Answers the names that were committed, and those that were rolled back.
async fn in_transactions(url: String, schema: String, port: u16, stop: CancellationToken) -> [BTreeSet<String>; 2] {
    let client = Client::builder().create(Create::Never).open(&url).await.expect("open");
    let [mut committed, mut rolled_back] = [BTreeSet::new(), BTreeSet::new()];
    let mut number = 0;
    while !stop.is_cancelled() {
        let place = format!("postgres://windlass@127.0.0.1:{port}/postgres");
        let Ok((mut database, connection)) = tokio_postgres::connect(&place, NoTls).await else {
            client.env().sleep(SECOND / 50).await;
            continue;
        };
        tokio::spawn(connection);
        while !stop.is_cancelled() {
            number += 1;
            let name = format!("tx-{number}");
            let job = || RawJob::new("x", "{}").with(|_| JobOptions::new().id(&*name).retention(1000 * SECOND));
            let Ok(mut tx) = database.transaction().await else { break };
            let row = format!("INSERT INTO {schema}.effect VALUES ('{name}')");
            if tx.batch_execute(&row).await.is_err() || client.enqueue_in(&mut tx, job()).await.is_err() {
                break;
            }
            if number % 3 == 0 {
                drop(tx.rollback().await);
                rolled_back.insert(name);
            } else if tx.commit().await.is_ok() {
                committed.insert(name);
            }
        }
    }
    [committed, rolled_back]
}

#[tokio::test]
async fn each_job_completes_once_though_postgres_is_killed_again_and_again() {
    let mut server = Server::start();
    let place = Place::on(server.port).await;
    let work = Work::on(place.open("timeout=5s").await).await;
    let database = place.database().await;
    database.batch_execute("CREATE TABLE effect (id text)").await.unwrap();
    let stop = CancellationToken::new();
    let (client, stopped) = (work.client.clone(), stop.clone());
    let adding = tokio::spawn(async move {
        let mut added = 0;
        while !stopped.is_cancelled() {
            add(&client, 20, 20).await;
            added += 20;
        }
        added
    });
    let own = tokio::spawn(in_transactions(place.direct_url(), place.schema.clone(), server.port, stop.clone()));
    for _ in 0..restarts() {
        let before = work.log.count(EventKind::Finished);
        soon("work goes on", work.log.wait_count(EventKind::Finished, before + 100)).await;
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.start_again();
            server
        })
        .await
        .unwrap();
    }
    stop.cancel();
    let added = soon("all are enqueued", adding).await.unwrap();
    let [committed, rolled_back] = soon("all are committed", own).await.unwrap();
    assert!(committed.len() > 10 && rolled_back.len() > 5, "the control: {} {}", committed.len(), rolled_back.len());

    let database = place.database().await;
    let rows = database.query("SELECT id FROM effect", &[]).await.unwrap();
    let effects: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    // What was neither acknowledged nor rolled back was under way when the server died; it is there whole, or not at all.
    work.exact(added + effects.len(), true).await;
    assert!(effects.is_superset(&committed) && effects.is_disjoint(&rolled_back));
    let jobs = database.query("SELECT id FROM history WHERE id LIKE 'tx-%'", &[]).await.unwrap();
    assert_eq!(jobs.iter().map(|row| row.get::<_, String>(0)).collect::<BTreeSet<_>>(), effects);
    let held = database.query_one("SELECT count(*) FROM job", &[]).await.unwrap();
    assert_eq!(held.get::<_, i64>(0), 0, "nothing is stuck");
    println!("{restarts} restarts, {added} + {} jobs, {:?}", effects.len(), work.told(), restarts = restarts());
    work.server.shutdown().await;
}
