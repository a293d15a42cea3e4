//! What a server tells of its jobs: the right events, in order, with the right fields.

use windlass::{EventKind, JobContext, JobState, RawJob, RetryPolicy, Router};

use crate::{
    log::Log,
    place::{HOUR, MINUTE, Place, SECOND, job, ok, server},
};

async fn a_life_is_told_in_order(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        if ctx.attempt() == 1 { Err(windlass::JobError::from("once")) } else { ok(()) }
    });
    let log = Log::new();
    let running = server(&place.client(), router)
        .retry(RetryPolicy::fixed(MINUTE))
        .queues([("low", 1)])
        .on_event(log.listener())
        .start()
        .await
        .unwrap();
    let id = place.add(job("x").with(|options| options.queue("low"))).await;
    place.client().wait(&id).await.unwrap();
    log.wait_count(EventKind::Finished, 2).await;
    use EventKind::*;
    let life = [
        (Claimed, 1, None),
        (Started, 1, None),
        (Finished, 1, Some(JobState::Retrying)),
        (Claimed, 2, None),
        (Started, 2, None),
        (Finished, 2, Some(JobState::Completed)),
    ];
    assert_eq!(log.of(&id), life);
    let events = log.all();
    for event in &events {
        assert_eq!((&*event.kind, &*event.queue, event.server), ("x", "low", running.id()));
    }
    assert_eq!((events[0].fence, events[3].fence), (events[2].fence, events[5].fence));
    assert!(events[0].fence < events[3].fence);
    assert!(events[3].at.since(events[2].at) >= MINUTE);
    running.shutdown().await;
}

async fn a_rescue_is_told_by_the_rescuer_and_a_stale_run_by_who_lost_it(place: Place) {
    let router = || {
        Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
            ctx.client().env().sleep(30 * SECOND).await;
            ok(())
        })
    };
    let (client, line) = place.line();
    let (first_log, second_log) = (Log::new(), Log::new());
    let first = server(&client, router()).on_event(first_log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    let started = first_log.wait(&id, EventKind::Started).await;
    let second = server(&place.client(), router()).on_event(second_log.listener()).start().await.unwrap();
    line.cut(true);
    let rescued = second_log.wait(&id, EventKind::Rescued).await;
    assert_eq!((rescued.fence, rescued.attempt, rescued.state), (started.fence, 1, Some(JobState::Pending)));
    assert_eq!(rescued.server, second.id());
    line.cut(false);
    let stale = first_log.wait(&id, EventKind::Stale).await;
    assert_eq!((stale.fence, stale.server, stale.state), (started.fence, first.id(), None));
    second_log.wait(&id, EventKind::Finished).await;
    assert_eq!(first_log.count(EventKind::Stale), 1, "told once");
    use EventKind::*;
    // Those who rescue and those who claim tell side by side; the fence says which came first.
    let told: Vec<_> =
        second_log.of(&id).into_iter().map(|(event, ..)| event).filter(|event| *event != Rescued).collect();
    assert_eq!(told, [Claimed, Started, Finished]);
    assert!(rescued.fence < second_log.wait(&id, Claimed).await.fence);
    first.shutdown().await;
    second.shutdown().await;
}

async fn a_job_given_back_is_told_as_released(place: Place) {
    let router = Router::new().at("x", |_: RawJob| async {
        std::future::pending::<()>().await;
        ok(())
    });
    let log = Log::new();
    let set_up = server(&place.client(), router).shutdown_timeout(SECOND).on_event(log.listener());
    let running = set_up.start().await.unwrap();
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    running.shutdown().await;
    use EventKind::*;
    assert_eq!(log.of(&id), [(Claimed, 1, None), (Started, 1, None), (Released, 1, Some(JobState::Pending))]);
}

async fn an_event_serializes_as_one_line_of_json(place: Place) {
    let log = Log::new();
    let router = Router::new().at("x", |_: RawJob| async { ok(()) });
    let running = server(&place.client(), router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x").with(|options| options.retention(HOUR))).await;
    let event = log.wait(&id, EventKind::Finished).await;
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!(json["event"], "finished");
    assert_eq!(json["id"], id.to_string());
    assert_eq!(json["state"], "completed");
    assert_eq!(json["fence"], event.fence.to_string());
    assert!(!serde_json::to_string(&event).unwrap().contains('\n'));
    running.shutdown().await;
}

on_every_store! {
    a_life_is_told_in_order
    a_rescue_is_told_by_the_rescuer_and_a_stale_run_by_who_lost_it
    a_job_given_back_is_told_as_released
    an_event_serializes_as_one_line_of_json
}
