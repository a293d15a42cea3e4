//! Hints that do not come or come in heaps, a store that is away for a while, and callers who stop waiting.

use std::{
    future::{Future, poll_fn},
    task::Poll,
    time::Duration,
};

use windlass::{DeadReason, EventKind, JobContext, JobState, RawJob, Router};

use crate::{
    faulty::Op,
    log::Log,
    place::{HOUR, MINUTE, Place, SECOND, job, ok, server},
};

fn quick() -> Router {
    Router::new().at("x", |_: RawJob| async { ok(()) })
}

async fn a_job_starts_within_the_poll_interval_though_no_hint_comes(place: Place) {
    // The control: with an interval of an hour it does not start, so it is polling that finds it.
    for (interval, starts) in [(3 * SECOND, true), (HOUR, false)] {
        let (client, line) = place.line();
        line.without_hints();
        let log = Log::new();
        let server = server(&client, quick()).poll_interval(interval).on_event(log.listener());
        let running = server.start().await.unwrap();
        place.env().sleep(MINUTE).await;
        let id = place.add(job("x")).await;
        let started = tokio::time::timeout(4 * SECOND, log.wait(&id, EventKind::Started)).await;
        assert_eq!(started.is_ok(), starts, "{interval:?}");
        running.shutdown().await;
        let _ = place.client().cancel(&id, "the control is over").await;
    }
}

async fn a_burst_of_hints_runs_every_job_and_does_not_make_a_claim_of_each(place: Place) {
    let (client, line) = place.line();
    let log = Log::new();
    let running = server(&client, quick()).concurrency(20).on_event(log.listener()).start().await.unwrap();
    let other = place.client();
    let enqueues = (0..1000).map(|_| other.enqueue(job("x")));
    let enqueued = futures_util::future::join_all(enqueues).await;
    assert!(enqueued.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.is_new())));
    log.wait_count(EventKind::Finished, 1000).await;
    let claims = line.calls(Op::Claim);
    assert!(claims < 500, "{claims} claims for 1,000 hints");
    running.shutdown().await;
    assert_eq!(log.count(EventKind::Started), 1000);
}

async fn claiming_resumes_by_itself_when_the_store_is_back(place: Place) {
    for outage in [SECOND, MINUTE] {
        let (client, line) = place.line();
        let log = Log::new();
        let running = server(&client, quick()).on_event(log.listener()).start().await.unwrap();
        line.cut(true);
        let id = place.add(job("x")).await;
        place.env().sleep(outage).await;
        assert_eq!(place.record(&id).await.state, JobState::Pending, "the control: nobody else runs it");
        assert!(!running.health().store_up);
        line.cut(false);
        let back = place.now();
        log.wait(&id, EventKind::Started).await;
        let took = place.now().since(back);
        assert!(took < 3 * SECOND, "{took:?} after an outage of {outage:?}");
        assert!(running.health().store_up);
        running.shutdown().await;
    }
}

/// Polls a future so many times, and drops it there. What it came to, if that was enough.
async fn polled<F: Future>(times: u32, call: F) -> Option<F::Output> {
    let (mut call, mut left) = (Box::pin(call), times);
    poll_fn(move |cx| {
        left = left.saturating_sub(1);
        match call.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn a_wait_and_an_enqueue_dropped_at_any_await_lose_nothing(place: Place) {
    let client = place.client();
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        ctx.client().env().sleep(5 * SECOND).await;
        ok(())
    });
    let running = server(&client, router).concurrency(100).start().await.unwrap();
    let mut ended = 0;
    for polls in 1..=30 {
        let id = format!("job-{polls}");
        let raw = || job("x").with(|options| options.id(&id).retention(HOUR));
        polled(polls, client.enqueue(raw())).await;
        // Its repeat is a duplicate of itself, or it: never two.
        let id = client.enqueue(raw()).await.unwrap().id().clone();
        ended += u32::from(polled(polls, client.wait(&id)).await.is_some());
        assert_eq!(client.wait(&id).await.unwrap().state, JobState::Completed);
    }
    assert!(ended < 30, "the control: some waits were dropped before their end");
    assert_eq!(client.census().await.unwrap().enqueued, 30);
    running.shutdown().await;
}

async fn a_payload_a_million_deep_is_dead_and_its_neighbours_run(place: Place) {
    #[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
    #[job(kind = "deep")]
    struct Deep {
        inner: serde_json::Value,
    }
    let router = Router::new().job(|deep: Deep| async move { ok(windlass::Json(deep.inner.is_array())) });
    let open = |depth: usize| format!("{{\"inner\":{}", "[".repeat(depth));
    let closed = format!("{}{}}}", open(500_000), "]".repeat(500_000));
    let deep = [open(1_000_000), closed];
    let mut ids = Vec::new();
    for payload in deep {
        ids.push(place.add(RawJob::new("deep", payload)).await);
    }
    let flat = place.add(RawJob::new("deep", r#"{"inner":[[[]]]}"#)).await;
    let running = server(&place.client(), router).start().await.unwrap();
    for id in &ids {
        let record = place.client().wait(id).await.unwrap();
        assert_eq!(record.reason.as_deref(), Some(DeadReason::Undecodable.as_str()));
        assert!(record.errors[0].message.len() < 1000, "the error is short, and holds no payload");
    }
    assert_eq!(place.client().wait(&flat).await.unwrap().state, JobState::Completed);
    running.shutdown().await;
}

async fn a_server_whose_part_panics_ends_and_says_so_and_its_jobs_run_elsewhere(place: Place) {
    for op in [Op::Claim, Op::Finish, Op::Extend] {
        let (client, line) = place.line();
        let log = Log::new();
        let slow = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
            ctx.client().env().sleep(20 * SECOND).await;
            ok(())
        });
        let running = server(&client, slow).on_event(log.listener()).start().await.unwrap();
        assert_eq!(running.health().failure, None, "the control");
        let id = place.add(job("x")).await;
        log.wait(&id, EventKind::Started).await;
        line.panic_at(op);
        // The dispatcher asks for more.
        place.add(job("x")).await;
        let problem = tokio::time::timeout(MINUTE, running.failed()).await.expect("nobody notices");
        assert!(problem.contains("panicked: a fault in the store's code"), "{op:?}: {problem}");
        assert_eq!(running.health().failure, Some(problem));
        assert!(!running.health().claiming);
        running.shutdown().await;
        let other = server(&place.client(), quick()).start().await.unwrap();
        place.until_state(&id, JobState::Completed).await;
        other.shutdown().await;
    }
}

on_every_store! {
    a_server_whose_part_panics_ends_and_says_so_and_its_jobs_run_elsewhere
    a_job_starts_within_the_poll_interval_though_no_hint_comes
    a_burst_of_hints_runs_every_job_and_does_not_make_a_claim_of_each
    claiming_resumes_by_itself_when_the_store_is_back
    a_wait_and_an_enqueue_dropped_at_any_await_lose_nothing
    a_payload_a_million_deep_is_dead_and_its_neighbours_run
}

/// One job that is snoozed many times and then fails once: its delay is that of a first retry.
async fn snoozes_then_one_error(place: Place, times: u32) {
    let router = Router::new().at("snoozy", move |_: RawJob, ctx: JobContext| async move {
        use windlass::ResultExt;
        let error = || std::io::Error::other("not yet");
        if ctx.snoozes() < times {
            Err(error()).or_snooze(Duration::from_millis(500))?
        } else {
            Err(error())?
        }
        ok(())
    });
    let policy = windlass::RetryPolicy::doubling(MINUTE);
    let running = server(&place.client(), router).retry(policy).start().await.unwrap();
    let id = place.add(job("snoozy")).await;
    let record = place.until_state(&id, JobState::Retrying).await;
    running.shutdown().await;
    assert_eq!((record.snoozes, record.failures, record.attempt), (times, 1, 1));
    assert_eq!(record.run_at.unwrap().since(record.updated_at), MINUTE);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_snoozes_then_one_error_wait_as_a_first_retry_on_memory() {
    crate::place::in_time(snoozes_then_one_error(Place::memory().await, 10_000)).await;
}

/// Fewer of them: while a writer's thread works, paused time runs on, and with it every poll of the server.
#[cfg(feature = "sqlite")]
#[tokio::test(start_paused = true)]
async fn hundreds_of_snoozes_then_one_error_wait_as_a_first_retry_on_sqlite() {
    crate::place::in_time(snoozes_then_one_error(Place::sqlite_with("?synchronous=off").await, 300)).await;
}
