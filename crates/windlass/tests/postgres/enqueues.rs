//! How jobs come in: many by COPY, few with those that come at the same time, none behind a transaction that lasts; and what
//! waits for the disk.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use tokio_postgres::Client;
use windlass::{
    JobOptions, JobState, NewJob, UniqueBy, Verdict,
    conformance::{Bench, HOUR},
    store::Enqueued,
};

use super::{application, bench, url};

fn many(bench: &Bench, queue: &str) -> Vec<NewJob> {
    (0..150).map(|_| NewJob { fresh: true, ..bench.job(JobOptions::new().queue(queue)) }).collect()
}

/// Notes of each job that comes in or goes what this SQL expression says, at once or as its transaction commits.
async fn note(app: &Client, schema: &str, when: &str, what: &str) {
    let sql = format!(
        "CREATE TABLE {schema}.noted (at bigserial, queue int, what text);
        CREATE FUNCTION {schema}.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO {schema}.noted (queue, what) VALUES (coalesce(new.line, old.line), {what}); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER note AFTER INSERT OR DELETE ON {schema}.job DEFERRABLE INITIALLY {when}
            FOR EACH ROW EXECUTE FUNCTION {schema}.note()"
    );
    app.batch_execute(&sql).await.unwrap();
}

/// What was noted since the last time.
async fn noted(app: &Client, schema: &str) -> Vec<String> {
    let sql =
        format!("WITH gone AS (DELETE FROM {schema}.noted RETURNING what) SELECT DISTINCT what FROM gone ORDER BY 1");
    app.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_first_job_of_a_kind_in_a_transaction_that_lasts_holds_up_nobody_and_they_are_one_kind() {
    let url = url();
    let bench = bench(&url).await;
    let (mut app, schema) = application(&url).await;
    let lasts = app.transaction().await.unwrap();
    lasts.query(&format!(r#"SELECT {schema}.enqueue('work', '{{}}', '{{"id": "first"}}')"#), &[]).await.unwrap();
    bench.add(JobOptions::new().id("second")).await;
    bench.add(JobOptions::new().id("third")).await;
    lasts.commit().await.unwrap();
    bench.add(JobOptions::new().id("fourth")).await;

    let census = bench.store.census().await.unwrap();
    assert_eq!(census.queues.len(), 1);
    assert_eq!(census.queues[0].by_state[JobState::Pending as usize], 4);
    let jobs = bench.claim(10).await;
    let ids: Vec<_> = jobs.iter().map(|job| job.spec.id.to_string()).collect();
    assert_eq!(ids, ["first", "second", "third", "fourth"]);
    for job in jobs {
        bench.finish(job.lease(), Verdict::Complete).await;
    }
    let tallies = bench.store.tallies(bench.env.wall()).await.unwrap();
    let lines: Vec<_> = tallies.lines.iter().map(|line| (line.kind.to_string(), line.bucket.completed)).collect();
    assert_eq!(lines, [("work".to_owned(), 4)]);
}

#[tokio::test]
async fn many_fresh_jobs_are_copied_with_all_that_belongs_to_them() {
    let url = url();
    let bench = bench(&url).await;
    let (app, schema) = application(&url).await;
    note(&app, &schema, "IMMEDIATE", "left(current_query(), 4)").await;
    let mut jobs = many(&bench, "default");
    jobs[1] = NewJob {
        fresh: true,
        ..bench.job(JobOptions::new().priority(3).tenant("t").tag("a").tag("b").retention(HOUR).queue("other"))
    };
    jobs[2] = NewJob { fresh: true, ..bench.job(JobOptions::new().process_in(HOUR)) };
    jobs[3] = NewJob { fresh: true, ..bench.job(JobOptions::new().group("g")) };
    let answers = bench.enqueue(jobs.clone()).await;
    assert!(answers.iter().all(Enqueued::is_new));
    assert_eq!(noted(&app, &schema).await, ["COPY"]);

    for (at, job) in jobs.iter().enumerate() {
        let record = bench.get(&job.spec.id).await.expect("it is there");
        assert_eq!(format!("{:?}", record.spec), format!("{:?}", job.spec));
        let state = match at {
            2 => JobState::Scheduled,
            3 => JobState::Aggregating,
            _ => JobState::Pending,
        };
        assert_eq!(record.state, state);
    }
    let census = bench.store.census().await.unwrap();
    assert_eq!(census.enqueued, 150);
    let claimed: Vec<_> = bench.claim(200).await.into_iter().map(|job| job.spec.id.clone()).collect();
    let expected = jobs.iter().enumerate().filter(|(at, _)| !(1..=3).contains(at)).map(|(_, job)| job.spec.id.clone());
    assert_eq!(claimed, expected.collect::<Vec<_>>(), "in their order");
}

#[tokio::test]
async fn of_many_jobs_those_whose_id_is_taken_are_answered_and_the_others_come_in() {
    let url = url();
    let bench = bench(&url).await;
    let first = many(&bench, "default");
    bench.enqueue(first.clone()).await;
    let mut second = many(&bench, "default");
    // It says that it is fresh, which is wrong.
    second[70] = first[7].clone();
    let answers = bench.enqueue(second).await;
    let taken = Enqueued::Duplicate(first[7].spec.id.clone(), Some(JobState::Pending));
    for (at, answer) in answers.into_iter().enumerate() {
        assert!(if at == 70 { answer == taken } else { answer.is_new() }, "{at}: {answer:?}");
    }
    assert_eq!(bench.store.census().await.unwrap().enqueued, 299);
}

#[tokio::test]
async fn calls_that_come_together_share_transactions_and_not_what_is_wrong_with_one() {
    let url = url();
    let bench = bench(&url).await;
    let (app, schema) = application(&url).await;
    let fresh = |job| NewJob { fresh: true, ..job };
    let mut jobs: Vec<_> = (0..60).map(|_| fresh(bench.job(JobOptions::new().tag("a")))).collect();
    // What no client would send, and the server does not take.
    Arc::make_mut(&mut jobs[30].spec).tags = vec!["\0".into()];
    let calls = jobs.into_iter().map(|job| bench.store.enqueue(vec![job]));
    for (at, answer) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.is_ok(), at != 30, "{at}: {answer:?}");
    }
    let calls = (0..60).map(|_| bench.store.enqueue(vec![fresh(bench.job_of("shared", JobOptions::new()))]));
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    let commits = format!(
        "SELECT count(DISTINCT job.xmin::text) FROM {schema}.job JOIN {schema}.line ON line.id = job.line WHERE kind = 'shared'"
    );
    let commits: i64 = app.query_one(&commits, &[]).await.unwrap().get(0);
    assert!(commits <= 20, "60 calls were {commits} transactions");
}

#[tokio::test]
async fn whoever_waits_for_an_id_that_an_open_transaction_holds_holds_up_no_other() {
    let url = url();
    let bench = bench(&url).await;
    let (mut app, schema) = application(&url).await;
    let lasts = app.transaction().await.unwrap();
    lasts.query(&format!(r#"SELECT {schema}.enqueue('work', '{{}}', '{{"id": "held"}}')"#), &[]).await.unwrap();
    let held = || bench.store.enqueue(vec![bench.job(JobOptions::new().id("held"))]);
    let mut waiting = FuturesUnordered::from_iter((0..4).map(|_| held()));
    assert!(waiting.next().now_or_never().is_none());
    // They are sent before what comes now.
    for _ in 0..20 {
        let fresh = NewJob { fresh: true, ..bench.job(JobOptions::new()) };
        assert!(bench.store.enqueue(vec![fresh]).await.unwrap()[0].is_new());
    }
    assert!(waiting.next().now_or_never().is_none());
    lasts.commit().await.unwrap();
    while let Some(answer) = waiting.next().await {
        assert!(!answer.unwrap()[0].is_new());
    }
}

#[tokio::test]
async fn processes_that_bring_in_the_same_ids_and_keys_in_any_order_do_not_wait_for_each_other() {
    let url = url();
    let first = bench(&url).await;
    let others = [bench(&url).await, bench(&url).await, bench(&url).await];
    let job = |at: usize| match at % 3 {
        0 => first.job(JobOptions::new().unique(UniqueBy::until_done(&at))),
        1 => first.job(JobOptions::new().unique(UniqueBy::idempotency(&at, HOUR))),
        _ => first.job(JobOptions::new().id(format!("id {at}"))),
    };
    for round in 0..8 {
        let calls = others.iter().enumerate().map(|(turn, bench)| {
            let ats = (0..90).map(|at| round * 90 + if turn == 1 { 89 - at } else { (at * 7 + turn * 31) % 90 });
            bench.store.enqueue(ats.map(job).collect())
        });
        for answer in join_all(calls).await {
            assert_eq!(answer.unwrap().len(), 90);
        }
    }
    assert_eq!(first.store.census().await.unwrap().enqueued, 8 * 90);
}

#[tokio::test]
async fn jobs_of_relaxed_queues_alone_wait_for_no_disk() {
    let url = url();
    let bench = bench(&format!("{url}&relaxed=metrics,mail")).await;
    let (app, schema) = application(&url).await;
    note(&app, &schema, "DEFERRED", "current_setting('synchronous_commit')").await;
    let job = |queue: &str| bench.job(JobOptions::new().queue(queue));
    let both = || vec![job("metrics"), job("default")];
    let calls = [
        (vec![job("metrics"), job("mail")], "off"),
        (vec![job("default")], "on"),
        (both(), "on"),
        (many(&bench, "mail"), "off"),
        (many(&bench, "default"), "on"),
    ];
    for (jobs, waits) in calls {
        bench.enqueue(jobs).await;
        assert_eq!(noted(&app, &schema).await, [waits]);
    }
    for (queue, waits) in [("metrics", "off"), ("default", "on")] {
        let job = bench.take(&bench.request_from(&[queue], 1)).await.pop().unwrap();
        bench.finish(job.lease(), Verdict::Complete).await;
        assert_eq!(noted(&app, &schema).await, [waits]);
    }
}
