//! Cancelling: a waiting job at once; a running one is told, and ends cancelled whatever its handler says.

use std::sync::{Arc, Mutex};

use windlass::{
    Error, ErrorClass, EventKind, Host, JobContext, JobError, JobState, RawJob, RetryPolicy, Router, StopCause,
};

use crate::{
    faulty::Op,
    log::Log,
    place::{HOUR, MS, Place, SECOND, job, ok, server},
};

async fn a_waiting_job_is_cancelled_at_once(place: Place) {
    let client = place.client();
    let (pending, scheduled) =
        (place.add(job("x")).await, place.add(job("x").with(|options| options.process_in(HOUR))).await);
    for id in [&pending, &scheduled] {
        assert_eq!(client.cancel(id, "no need").await.unwrap(), JobState::Cancelled);
        let record = place.record(id).await;
        assert_eq!((record.state, record.reason.as_deref()), (JobState::Cancelled, Some("no need")));
        assert!(matches!(client.cancel(id, "again").await, Err(Error::Conflict { .. })));
    }
}

async fn a_retrying_job_is_cancelled_at_once(place: Place) {
    let router = Router::new().at("x", |_: RawJob| async { Err::<(), _>(JobError::from("no")) });
    let running = server(&place.client(), router).retry(RetryPolicy::fixed(HOUR)).start().await.unwrap();
    let id = place.add(job("x")).await;
    place.until_state(&id, JobState::Retrying).await;
    assert_eq!(place.client().cancel(&id, "enough").await.unwrap(), JobState::Cancelled);
    running.shutdown().await;
}

/// Handlers that are told to stop and end in different ways.
async fn told(raw: RawJob, ctx: JobContext) -> windlass::Result {
    let StopCause::Cancelled(reason) = ctx.cancelled().await else { return Err("another cause".into()) };
    assert_eq!(&*reason, "by hand");
    match &*raw.kind {
        "ok" => Ok(()),
        "error" => Err("gave up".into()),
        _ => panic!("gave up"),
    }
}

async fn a_running_job_is_told_within_a_second_and_ends_cancelled_whatever_it_returns(place: Place) {
    let log = Log::new();
    let running = server(&place.client(), Router::new().at("*", told)).on_event(log.listener()).start().await.unwrap();
    let other = place.client();
    for kind in ["ok", "error", "panic"] {
        let id = place.add(job(kind)).await;
        log.wait(&id, EventKind::Started).await;
        let asked = place.now();
        assert_eq!(other.cancel(&id, "by hand").await.unwrap(), JobState::Running);
        let record = place.until_state(&id, JobState::Cancelled).await;
        assert!(place.now().since(asked) <= SECOND + 20 * MS, "{kind}");
        assert_eq!((record.reason.as_deref(), record.failures), (Some("by hand"), 0), "{kind}");
        assert_eq!(record.errors[0].class, ErrorClass::Cancelled, "{kind}");
        assert_eq!(log.of(&id).last(), Some(&(EventKind::Finished, 1, Some(JobState::Cancelled))));
    }
    running.shutdown().await;
}

async fn a_handler_that_ignores_it_is_dropped_after_the_grace(place: Place) {
    let dropped = Arc::new(Mutex::new(None));
    let (clock, note) = (place.clock.clone(), dropped.clone());
    let router = Router::new().at("x", move |_: RawJob, ctx: JobContext| {
        struct Note(crate::place::Clock, Arc<Mutex<Option<windlass::Monotonic>>>);
        impl Drop for Note {
            fn drop(&mut self) {
                *self.1.lock().unwrap() = Some(self.0.monotonic());
            }
        }
        let note = Note(clock.clone(), note.clone());
        async move {
            ctx.cancelled().await;
            *note.1.lock().unwrap() = Some(note.0.monotonic());
            std::future::pending::<()>().await;
            ok(())
        }
    });
    let log = Log::new();
    let running = server(&place.client(), router).grace(3 * SECOND).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    place.client().cancel(&id, "stop").await.unwrap();
    place.until(async || dropped.lock().unwrap().is_some()).await;
    let told = dropped.lock().unwrap().unwrap();
    place.until_state(&id, JobState::Cancelled).await;
    let over = dropped.lock().unwrap().unwrap().since(told);
    assert!((3 * SECOND..3 * SECOND + 20 * MS).contains(&over), "{over:?}");
    running.shutdown().await;
}

async fn a_cancel_before_the_reply_to_the_claim_reaches_the_run(place: Place) {
    let (client, line) = place.line();
    let log = Log::new();
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        ctx.cancelled().await;
        ok(())
    });
    let running = server(&client, router).on_event(log.listener()).start().await.unwrap();
    // It keeps the server reading the cancel log.
    let first = place.add(job("x")).await;
    log.wait(&first, EventKind::Started).await;
    line.lose_replies(Op::Claim, 3);
    let id = place.add(job("x")).await;
    place.until_state(&id, JobState::Running).await;
    assert_eq!(place.client().cancel(&id, "early").await.unwrap(), JobState::Running);
    let record = place.until_state(&id, JobState::Cancelled).await;
    assert_eq!((record.reason.as_deref(), record.crashes), (Some("early"), 0));
    place.client().cancel(&first, "done").await.unwrap();
    running.shutdown().await;
}

async fn a_cancelled_job_does_not_come_back_after_a_failure_or_a_release(place: Place) {
    let (client, line) = place.line();
    let router = Router::new().at("x", |_: RawJob| async { Err::<(), _>(JobError::from("no")) });
    let log = Log::new();
    let running = server(&client, router).on_event(log.listener()).start().await.unwrap();
    line.hold_back(Op::Finish);
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    place.client().cancel(&id, "stop").await.unwrap();
    line.let_through(Op::Finish);
    place.until_state(&id, JobState::Cancelled).await;
    running.shutdown().await;
}

on_every_store! {
    a_waiting_job_is_cancelled_at_once
    a_retrying_job_is_cancelled_at_once
    a_running_job_is_told_within_a_second_and_ends_cancelled_whatever_it_returns
    a_handler_that_ignores_it_is_dropped_after_the_grace
    a_cancel_before_the_reply_to_the_claim_reaches_the_run
    a_cancelled_job_does_not_come_back_after_a_failure_or_a_release
}
