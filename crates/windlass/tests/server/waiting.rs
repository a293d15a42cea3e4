//! Waiting for a job's end, for what it says on the way, and for its result.

use windlass::{
    DeadReason, Error, ErrorClass, Job, JobContext, JobState, Json, RawJob, ResultExt, Returns, Router, Update,
};

use crate::{
    faulty::Op,
    place::{HOUR, MINUTE, MS, Place, SECOND, job, ok, server},
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Square(u64);

impl Job for Square {
    const KIND: &'static str = "square";
}

impl Returns for Square {
    type Output = u64;
}

async fn square(job: Square, ctx: JobContext) -> windlass::Result<Json<u64>> {
    ctx.client().env().sleep(50 * MS).await;
    let squared = job.0.checked_mul(job.0).ok_or("too large").or_bury()?;
    Ok(Json(squared))
}

async fn a_call_answers_what_the_handler_returned(place: Place) {
    let running = server(&place.client(), Router::new().job(square)).start().await.unwrap();
    let client = place.client();
    assert_eq!(client.call(Square(12)).await.unwrap(), 144);
    assert_eq!(client.call(Square(3).with(|options| options.priority(5))).await.unwrap(), 9);
    running.shutdown().await;
}

async fn a_job_that_is_waited_for_is_kept_for_a_minute_or_longer(place: Place) {
    let running = server(&place.client(), Router::new().job(square)).start().await.unwrap();
    let client = place.client();
    let record = client.enqueue_and_wait(Square(2)).await.unwrap();
    assert_eq!((record.state, record.spec.retention), (JobState::Completed, MINUTE));
    let longer = client.enqueue_and_wait(Square(2).with(|options| options.retention(HOUR))).await.unwrap();
    assert_eq!(longer.spec.retention, HOUR);
    // Whoever comes later can read it, too, until it is pruned.
    assert_eq!(client.wait_result::<u64>(record.id()).await.unwrap(), 4);
    place.env().sleep(3 * MINUTE).await;
    assert!(matches!(client.wait_result::<u64>(record.id()).await, Err(Error::Gone(id)) if id == *record.id()));
    running.shutdown().await;
}

async fn a_failed_job_is_an_error_with_reason_class_and_message(place: Place) {
    let running = server(&place.client(), Router::new().job(square)).start().await.unwrap();
    let client = place.client();
    let Err(Error::Failed(failed)) = client.call(Square(u64::MAX)).await else { panic!("it was buried") };
    assert_eq!((failed.state, failed.class), (JobState::Dead, Some(ErrorClass::Buried)));
    assert_eq!(failed.reason.as_deref(), Some(DeadReason::Buried.as_str()));
    assert_eq!(failed.message.as_deref(), Some("too large"));
    assert!(failed.to_string().ends_with("is dead (buried): too large"), "{failed}");
    let later = client.enqueue(Square(1).with(|options| options.process_in(HOUR))).await.unwrap();
    client.cancel(later.id(), "no longer wanted").await.unwrap();
    let Err(Error::Failed(failed)) = client.wait_result::<u64>(later.id()).await else { panic!("it was cancelled") };
    assert_eq!((failed.state, failed.reason.as_deref()), (JobState::Cancelled, Some("no longer wanted")));
    running.shutdown().await;
}

async fn a_result_of_another_type_is_an_error_that_does_not_quote_it(place: Place) {
    let router = Router::new().at("secret", |_: RawJob| async { ok(Json("secret")) });
    let router = router.at("none", |_: RawJob| async { ok(()) });
    let running = server(&place.client(), router).start().await.unwrap();
    let client = place.client();
    let (secret, none) = (place.add(job("secret")).await, place.add(job("none")).await);
    let wrong = client.wait_result::<u64>(&secret).await.unwrap_err();
    assert!(matches!(wrong, Error::Result { .. }) && !wrong.to_string().contains("secret`"), "{wrong}");
    assert!(wrong.to_string().contains("u64"), "{wrong}");
    let nothing = client.wait_result::<u64>(&none).await.unwrap_err();
    assert!(nothing.to_string().contains("returned nothing"), "{nothing}");
    client.wait_result::<()>(&none).await.unwrap();
    assert_eq!(client.wait_result::<Option<u64>>(&none).await.unwrap(), None);
    running.shutdown().await;
}

async fn an_id_that_never_was_or_is_no_longer_there_is_an_error(place: Place) {
    let client = place.client();
    let gone = place.env().new_id();
    assert!(matches!(client.wait(&gone).await, Err(Error::Gone(_))));
    assert!(matches!(client.watch(&"mine".parse().unwrap()).next().await, Err(Error::NotFound(_))));
    // Removed while somebody waits.
    let id = place.add(job("x")).await;
    let (waiting, remover) = (client.clone(), place.client());
    let (wait, ()) = tokio::join!(waiting.wait(&id), async {
        place.clock_turn().await;
        remover.delete(&id).await.unwrap();
    });
    assert!(matches!(wait, Err(Error::Gone(_))));
}

async fn a_watcher_sees_states_progress_and_lines_and_at_last_the_record(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        for step in 1..=3u32 {
            ctx.progress(f64::from(step) / 4.0, "");
            ctx.log(format!("step {step}"));
            ctx.client().env().sleep(SECOND).await;
        }
        if ctx.attempt() == 1 {
            return Err("once".into());
        }
        ctx.log("done");
        ok(Json(7))
    });
    let id = place.add(job("x")).await;
    let client = place.client();
    let mut updates = client.watch(&id);
    let mut seen = Vec::new();
    let first = updates.next().await.unwrap();
    assert!(matches!(first, Some(Update::State(JobState::Pending))), "{first:?}");
    let running = server(&place.client(), router).start().await.unwrap();
    while let Some(update) = updates.next().await.unwrap() {
        seen.push(match update {
            Update::State(state) => state.to_string(),
            Update::Progress(progress) => progress.fraction.to_string(),
            Update::Line(line) => format!("{}:{}", line.number, line.line),
            Update::Ended(job) => format!("{} {:?}", job.state, job.result),
            other => panic!("{other:?}"),
        });
    }
    let expected = [
        "running",
        "1:step 1",
        "0.25",
        "2:step 2",
        "0.5",
        "3:step 3",
        "0.75",
        "retrying",
        "running",
        "4:step 1",
        "0.25",
        "5:step 2",
        "0.5",
        "6:step 3",
        "0.75",
        "7:done",
        "completed Some(b\"7\")",
    ];
    // Between two attempts it is in line for a moment, which may be seen.
    seen.retain(|seen| seen != "pending");
    assert_eq!(seen, expected);
    assert!(updates.next().await.unwrap().is_none(), "and it stays at its end");
    running.shutdown().await;
}

async fn a_waiter_on_a_busy_store_looks_seldom(place: Place) {
    let (client, line) = place.line();
    let id = place.add(job("x").with(|options| options.process_in(HOUR))).await;
    let waiting = tokio::spawn({
        let id = id.clone();
        async move { client.wait(&id).await }
    });
    place.clock_turn().await;
    // A thousand hints in ten seconds.
    for _ in 0..1000 {
        place.add(job("other")).await;
        place.env().sleep(10 * MS).await;
    }
    let looks = line.calls(Op::Other);
    assert!((20..=170).contains(&looks), "{looks} looks");
    let cancelled_at = place.now();
    place.client().cancel(&id, "x").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().state, JobState::Cancelled);
    let took = place.now().since(cancelled_at);
    assert!(took <= 100 * MS, "{took:?}");
}

on_every_store! {
    a_call_answers_what_the_handler_returned
    a_job_that_is_waited_for_is_kept_for_a_minute_or_longer
    a_failed_job_is_an_error_with_reason_class_and_message
    a_result_of_another_type_is_an_error_that_does_not_quote_it
    an_id_that_never_was_or_is_no_longer_there_is_an_error
    a_watcher_sees_states_progress_and_lines_and_at_last_the_record
    a_waiter_on_a_busy_store_looks_seldom
}
