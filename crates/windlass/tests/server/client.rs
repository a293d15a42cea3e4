//! What the client fills in, refuses, repeats and answers.

use std::time::Duration;

use windlass::{
    Client, Enqueued, Error, Job, JobError, JobOptions, JobState, RawJob, Router, Start, StoreError, UniqueBy,
};

use crate::{
    faulty::Op,
    place::{HOUR, MS, Place, SECOND, job, ok, server},
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Mail;

impl Job for Mail {
    const KIND: &'static str = "mail";

    fn options(&self) -> JobOptions {
        JobOptions::new().queue("of-job").max_retry(2).tag("of-job").header("who", "job")
    }
}

async fn a_call_goes_before_the_job_before_the_queue_before_the_client_before_the_defaults(place: Place) {
    let of_queue = JobOptions::new().max_retry(3).priority(3).tag("of-queue");
    let of_client =
        JobOptions::new().queue("of-client").max_retry(4).priority(4).timeout(4 * SECOND).header("who", "client");
    let client = Client::builder().env(place.env()).defaults(of_client).queue_defaults("of-job", of_queue);
    let client = client.on(place.line().1);
    let seen = |new: windlass::NewJob| {
        let spec = &new.spec;
        (spec.queue.to_string(), spec.max_retry, spec.priority, spec.timeout, spec.retention)
    };
    let zero = Duration::ZERO;
    let mail = client.prepare(Mail).unwrap();
    assert_eq!(mail.spec.tags, ["of-job", "of-queue"]);
    assert_eq!(mail.spec.headers["who"], "job");
    assert_eq!(seen(mail), ("of-job".into(), 2, 3, 4 * SECOND, zero));
    let called = client.prepare(Mail.with(|options| options.max_retry(1).priority(1))).unwrap();
    assert_eq!(seen(called), ("of-job".into(), 1, 1, 4 * SECOND, zero));
    let raw = client.prepare(job("raw")).unwrap();
    assert_eq!(seen(raw), ("of-client".into(), 4, 4, 4 * SECOND, zero));
    let moved = client.prepare(job("raw").with(|options| options.queue("of-job"))).unwrap();
    assert_eq!(seen(moved), ("of-job".into(), 3, 3, 4 * SECOND, zero));
    let bare = place.client().prepare(job("raw")).unwrap();
    assert_eq!(bare.start, Start::Now);
    assert_eq!(seen(bare), ("default".into(), 25, 0, 1800 * SECOND, zero));
}

/// Jobs that a client refuses, each with what its error must name.
fn refused() -> Vec<(RawJob, &'static str)> {
    let with = |options: fn(JobOptions) -> JobOptions| job("x").with(options);
    vec![
        (RawJob::new("x", vec![b'1'; 1024 * 1024 + 1]), "1048577"),
        (job(""), "kind"),
        (with(|o| o.queue("")), "queue"),
        (with(|o| o.queue("q".repeat(1000))), "queue"),
        (with(|o| o.tenant("")), "tenant"),
        (with(|o| o.priority(101)), "101"),
        (with(|o| o.priority(-1000)), "-1000"),
        (with(|o| o.timeout(Duration::ZERO)), "timeout"),
        (with(|o| o.id("")), "id"),
        (with(|o| o.tag("")), "tag"),
        (with(|o| (0..65).fold(o, |o, n| o.tag(n.to_string()))), "64"),
        (with(|o| o.header("", "x")), "header"),
        (with(|o| o.header("x", "x".repeat(9000))), "x"),
    ]
}

async fn what_is_refused_is_named_and_nothing_is_stored(place: Place) {
    let client = place.client();
    for (raw, names) in refused() {
        let error = client.enqueue(raw.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        assert!(error.to_string().contains(names), "`{error}` names `{names}`");
        let all = [job("good"), raw, job("good")];
        assert!(matches!(client.enqueue_all(all).await, Err(Error::Invalid(_))));
    }
    assert_eq!(client.census().await.unwrap().enqueued, 0);
    client.enqueue(RawJob::new("x", vec![b'1'; 1024 * 1024])).await.expect("the control: just at the limit");
    assert_eq!(client.census().await.unwrap().enqueued, 1);
}

async fn a_payload_limit_of_the_client_holds_for_edits_too(place: Place) {
    let client = Client::builder().env(place.env()).max_payload_bytes(10).on(place.line().1);
    let id = client.enqueue(RawJob::new("x", "1234567890")).await.unwrap().id().clone();
    assert!(matches!(client.edit(&id, "12345678901").await, Err(Error::Invalid(_))));
    assert!(matches!(client.enqueue(RawJob::new("x", "12345678901")).await, Err(Error::Invalid(_))));
    assert_eq!(client.edit(&id, "0987654321").await.unwrap(), JobState::Pending);
}

async fn an_enqueue_whose_reply_was_lost_is_new_and_not_doubled(place: Place) {
    let (client, line) = place.line();
    let unique = || job("x").with(|options| options.unique(UniqueBy::until_done("key")));
    line.lose_replies(Op::Enqueue, 2);
    assert!(client.enqueue(unique()).await.unwrap().is_new());
    assert_eq!(line.calls(Op::Enqueue), 3);
    line.lose_replies(Op::Enqueue, 1);
    let answers = client.enqueue_all((0..2500).map(|_| job("x"))).await.unwrap();
    assert!(answers.len() == 2500 && answers.iter().all(Enqueued::is_new));
    assert_eq!(client.census().await.unwrap().enqueued, 2501);
    assert!(!client.enqueue(unique()).await.unwrap().is_new(), "the control: another one with its key");
    line.lose_replies(Op::Enqueue, 1);
    assert!(!client.enqueue(unique()).await.unwrap().is_new(), "nor when its reply is lost");
    assert_eq!(client.census().await.unwrap().enqueued, 2501);
}

async fn an_enqueue_whose_reply_was_lost_does_not_run_again_what_has_ended_meanwhile(place: Place) {
    let (client, line) = place.line();
    let router = Router::new().at("x", |_: RawJob| async { ok(()) });
    let running = server(&place.client(), router).start().await.unwrap();
    line.lose_replies(Op::Enqueue, 2);
    let queued = client.enqueue(job("x").with(|options| options.retention(HOUR))).await.unwrap();
    assert!(queued.is_new());
    assert_eq!(line.calls(Op::Enqueue), 3);
    assert_eq!(client.wait(queued.id()).await.unwrap().state, JobState::Completed);
    assert_eq!(client.census().await.unwrap().enqueued, 1);
    running.shutdown().await;
}

async fn an_enqueue_gives_up_after_about_a_second(place: Place) {
    let (client, line) = place.line();
    line.cut(true);
    let begun = place.now();
    let error = client.enqueue(job("x")).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Unavailable(_))), "{error:?}");
    let took = place.now().since(begun);
    assert!((300 * MS..1500 * MS).contains(&took), "{took:?}");
}

async fn a_job_can_be_waited_for_to_any_end(place: Place) {
    let router = Router::new().at("*", |raw: RawJob, ctx: windlass::JobContext| async move {
        ctx.client().env().sleep(10 * SECOND).await;
        if raw.kind == "bad" { Err(JobError::from("no")) } else { ok(()) }
    });
    let client = place.client();
    let running = server(&client, router).start().await.unwrap();
    let good = place.add(job("good")).await;
    let bad = place.add(job("bad").with(|options| options.max_retry(0))).await;
    let cancelled = place.add(job("good").with(|options| options.process_in(HOUR))).await;
    client.cancel(&cancelled, "no need").await.unwrap();
    for (id, state) in [(good, JobState::Completed), (bad, JobState::Dead), (cancelled, JobState::Cancelled)] {
        assert_eq!(client.wait(&id).await.unwrap().state, state);
    }
    let fleeting = client.enqueue(job("good")).await.unwrap().id().clone();
    assert!(matches!(client.wait(&fleeting).await, Err(Error::Gone(id)) if id == fleeting));
    assert!(matches!(client.wait(&fleeting).await, Err(Error::Gone(_))), "nor is it there later");
    let never = "order-7".parse().unwrap();
    assert!(matches!(client.wait(&never).await, Err(Error::NotFound(_))));
    running.shutdown().await;
}

async fn statistics_agree_with_the_census(place: Place) {
    let router = Router::new()
        .at("*", |raw: RawJob| async move { if raw.kind == "bad" { Err(JobError::from("no")) } else { ok(()) } });
    let client = place.client();
    let running = server(&client, router).queues([("default", 1), ("low", 1)]).start().await.unwrap();
    for (kind, count, queue) in [("good", 5, "default"), ("good", 2, "low"), ("bad", 3, "default")] {
        let raw = || job(kind).with(|options| options.queue(queue).max_retry(0));
        client.enqueue_all((0..count).map(|_| raw())).await.unwrap();
    }
    client.enqueue_all((0..4).map(|_| job("later").with(|options| options.process_in(HOUR)))).await.unwrap();
    let census = async || client.census().await.unwrap();
    place.until(async || census().await.removed == 7).await;
    place
        .until(async || {
            census().await.queues.iter().all(|queue| queue.by_state[JobState::Running.code() as usize] == 0)
        })
        .await;
    place
        .until(async || {
            census().await.queues.iter().all(|queue| queue.by_state[JobState::Pending.code() as usize] == 0)
        })
        .await;
    let census = census().await;
    let kept: u64 = census.queues.iter().flat_map(|queue| queue.by_state).sum();
    assert_eq!((census.enqueued, kept + census.removed), (14, 14));
    let in_state =
        |state: JobState| census.queues.iter().map(|queue| queue.by_state[state.code() as usize]).sum::<u64>();
    assert_eq!((in_state(JobState::Dead), in_state(JobState::Scheduled)), (3, 4));
    let stats = serde_json::to_value(client.stats(None, None).await.unwrap()).unwrap();
    assert_eq!(stats["enqueued"], 14, "{stats}");
    running.shutdown().await;
}

on_every_store! {
    a_call_goes_before_the_job_before_the_queue_before_the_client_before_the_defaults
    what_is_refused_is_named_and_nothing_is_stored
    a_payload_limit_of_the_client_holds_for_edits_too
    an_enqueue_whose_reply_was_lost_is_new_and_not_doubled
    an_enqueue_whose_reply_was_lost_does_not_run_again_what_has_ended_meanwhile
    an_enqueue_gives_up_after_about_a_second
    a_job_can_be_waited_for_to_any_end
    statistics_agree_with_the_census
}
