//! Claims and wake-ups while somebody's snapshot keeps the dead rows: what has gone is not walked over again and again, and
//! nothing is passed over for good.

use std::{future::poll_fn, time::Duration};

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, IsolationLevel, NoTls};
use windlass::{
    JobOptions, Verdict,
    conformance::{Bench, SECOND},
    store::{Claimed, Finish, Finished},
};

use super::{application, bench, url};

/// More than are walked with every claim.
const MANY: usize = 6_000;

fn done(job: &Claimed) -> Finish {
    Finish {
        lease: job.lease(),
        verdict: Verdict::Complete,
        error: None,
        result: None,
        then: vec![],
        ran: Duration::ZERO,
        news: vec![],
    }
}

/// Many jobs that came and went.
async fn come_and_go(bench: &Bench) {
    for _ in 0..MANY / 1000 {
        bench.enqueue((0..1000).map(|_| bench.job(JobOptions::new())).collect()).await;
        let jobs = bench.claim(1000).await;
        assert_eq!(jobs.len(), 1000);
        let answers = bench.store.finish(jobs.iter().map(done).collect()).await.unwrap();
        assert!(answers.iter().all(|answer| matches!(answer, Finished::Applied(_))));
        bench.pass(SECOND).await;
    }
}

fn ids(jobs: &[Claimed]) -> Vec<String> {
    jobs.iter().map(|job| job.spec.id.to_string()).collect()
}

#[tokio::test]
async fn what_is_behind_a_mark_waits_for_the_next_walk_and_what_is_put_in_front_does_not() {
    let url = url();
    let bench = bench(&url).await;
    // Its line is there; those that are new are looked at whole.
    bench.add_many(1).await;
    bench.finish(bench.claim_one().await.lease(), Verdict::Complete).await;
    let (mut late, schema) = application(&url).await;
    // It takes its place now and commits when thousands have gone past it. Its snapshot keeps their dead rows, too.
    let late = late.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await.unwrap();
    late.query(&format!(r#"SELECT {schema}.enqueue('work', '{{}}', '{{"id": "late"}}')"#), &[]).await.unwrap();
    come_and_go(&bench).await;
    assert!(bench.claim(10).await.is_empty(), "a long walk that finds nothing");

    late.commit().await.unwrap();
    assert!(bench.claim(10).await.is_empty(), "from the mark; the control: otherwise it would be here");
    bench.add(JobOptions::new().id("new")).await;
    let new = bench.claim(10).await;
    assert_eq!(ids(&new), ["new"]);
    bench.finish(new[0].lease(), Verdict::Release).await;
    assert_eq!(ids(&bench.claim(10).await), ["new"], "in front of the mark");
    bench.pass(SECOND).await;
    assert_eq!(ids(&bench.claim(10).await), ["late"], "by the next walk");
}

/// How many entries of the index of pending jobs this statement walks.
async fn walked(app: &Client, schema: &str, sql: &str) -> i64 {
    let many = format!("SELECT {schema}.walked()");
    let before: i64 = app.query_one(&many, &[]).await.unwrap().get(0);
    app.batch_execute(sql).await.unwrap();
    app.query_one(&many, &[]).await.unwrap().get::<_, i64>(0) - before
}

#[tokio::test]
async fn dead_rows_that_a_snapshot_keeps_are_not_walked_over_by_claims_from_a_mark_or_by_enqueues() {
    let url = url();
    let bench = bench(&url).await;
    let ((mut reader, schema), (app, _)) = (application(&url).await, application(&url).await);
    let reader = reader.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await.unwrap();
    reader.query("SELECT 1", &[]).await.unwrap();
    come_and_go(&bench).await;
    let from_the_front = format!("SELECT * FROM {schema}.heads('{{}}', '{{}}')");
    let from_the_mark = format!(
        "SELECT {schema}.heads(array_agg(line.id * 256::bigint), array_agg(place.last_value)) \
         FROM {schema}.line, {schema}.place"
    );
    let enqueue = format!("SELECT {schema}.enqueue('work', '{{}}')");
    assert!(walked(&app, &schema, &from_the_front).await >= MANY as i64, "the control: the dead are there");
    assert!(walked(&app, &schema, &from_the_mark).await < 10);
    assert!(walked(&app, &schema, &enqueue).await < 10);
    assert!(walked(&app, &schema, &from_the_mark).await < 10, "nor with a job behind the mark");
}

/// A connection that listens, and what it hears.
async fn listener(url: &str, schema: &str) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (place, _) = url.split_once("?schema=").unwrap();
    let (client, mut connection) = tokio_postgres::connect(place, NoTls).await.unwrap();
    let (heard, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(told) = message {
                let _ = heard.send(told.payload().to_owned());
            }
        }
    });
    client.batch_execute(&format!("LISTEN {schema}")).await.unwrap();
    (client, hears)
}

#[tokio::test]
async fn a_transaction_notifies_while_few_jobs_wait_and_not_behind_many() {
    let url = url();
    // Nobody else notifies.
    let bench = bench(&format!("{url}&notify=off")).await;
    let (app, schema) = application(&url).await;
    let (_listening, mut hears) = listener(&url, &schema).await;
    let enqueue = format!("SELECT {schema}.enqueue('work', '{{}}')");
    let sentinel = format!("NOTIFY {schema}, 'sentinel'");
    app.batch_execute(&enqueue).await.unwrap();
    assert_eq!(hears.recv().await.unwrap(), "", "one job");
    bench.add_many(64).await;
    app.batch_execute(&enqueue).await.unwrap();
    app.batch_execute(&sentinel).await.unwrap();
    assert_eq!(hears.recv().await.unwrap(), "sentinel", "behind 65 it says nothing");
    assert_eq!(bench.claim(100).await.len(), 66);
    app.batch_execute(&enqueue).await.unwrap();
    assert_eq!(hears.recv().await.unwrap(), "", "they run: nothing waits any more");
}
