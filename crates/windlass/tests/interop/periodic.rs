//! A scheduler of Go's, whose tasks run here and whose entries are shown here; and what Asynq's tools show of ours.

use serde_json::{Value, json};
use windlass::{
    JobError, JobOptions, JobState as State, Json, RawJob, Router,
    store::{Revision, ScheduleChange, ScheduleChanged, ScheduleKey, Schedules},
    testing::job,
};

use crate::{Both, both, mixed::serve, queue, sides::id};

#[tokio::test]
async fn the_tasks_of_gos_scheduler_run_here() {
    let mut both = both!();
    let echo = |job: RawJob| async move { Ok::<_, JobError>(Json(String::from_utf8_lossy(&job.payload).into_owned())) };
    let server = serve(&both, Router::new().at("tick", echo)).await;
    let scheduled = both.go.tell(json!({
        "do": "schedule", "spec": "@every 1s", "queue": "q", "kind": "tick", "payload": "tock", "retain_ms": 60_000,
    }));
    let entry = scheduled["entry"].clone();
    let mut events = Vec::new();
    while events.len() < 2 {
        both.env.sleep(std::time::Duration::from_millis(20)).await;
        let answer = both.go.tell(json!({"do": "events", "id": entry}));
        events = answer["ids"].as_array().cloned().unwrap_or_default();
    }
    let entries = both.go.tell(json!({"do": "entries"}));
    let shown = &entries["entries"][0];
    assert_eq!((&shown["id"], &shown["spec"], &shown["kind"]), (&entry, &json!("@every 1s"), &json!("tick")));
    let here = both.store.foreign_schedules().await.expect("Go's entries");
    assert_eq!(here.len(), 1, "{here:?}");
    let (found, shown) = (&here[0], &entries["entries"][0]);
    assert_eq!((&*found.id, &*found.spec, &*found.kind), (entry.as_str().expect("an id"), "@every 1s", "tick"));
    assert_eq!((found.queue.as_ref(), &*found.payload), (Some(&queue()), &b"tock"[..]));
    assert!(found.last < found.next && found.next.is_some(), "{found:?} and {shown}");
    assert_eq!(found.scheduler.split(':').count(), 3, "host, process and id: {}", found.scheduler);
    both.go.tell(json!({"do": "unschedule"}));
    assert_eq!(both.store.foreign_schedules().await.expect("Go's entries"), []);
    for event in events {
        let Value::String(event) = event else { panic!("{event} is no id") };
        let done = both.until(&id(&event), State::Completed).await;
        assert_eq!((done.spec.kind.as_str(), done.result.as_deref()), ("tick", Some(&br#""tock""#[..])));
        assert_eq!(both.go.task(&event)["state"], "completed");
    }
    server.shutdown().await;
}

/// A change of the schedule `nightly` that enqueues a job for each of these ids.
async fn change(both: &Both, from: Option<Revision>, to: Option<&str>, ids: &[&str]) -> Option<Revision> {
    let of = |id: &&str| job("report").options(JobOptions::new().queue("q").id(*id)).build(&both.env);
    let change = ScheduleChange {
        key: ScheduleKey::new(queue(), "nightly"),
        from,
        to: to.map(Into::into),
        jobs: ids.iter().map(of).collect(),
        history: Vec::new(),
    };
    match both.store.change_schedule(&change).await.expect("a change") {
        ScheduleChanged::Done(revision) => revision,
        ScheduleChanged::Conflict => panic!("nobody else changes it"),
    }
}

#[tokio::test]
async fn what_our_schedules_enqueue_is_shown_by_gos_tools() {
    let mut both = both!();
    let events = |both: &mut Both| {
        let mut ids = both.go.tell(json!({"do": "events", "id": "nightly"}))["ids"].as_array().cloned().expect("ids");
        ids.sort_by_key(|id| id.to_string());
        Value::Array(ids)
    };
    let added = change(&both, None, Some("1"), &[]).await;
    assert_eq!(events(&mut both), json!([]));
    let ticked = change(&both, added, Some("2"), &["nightly/1", "nightly/2"]).await;
    let ticked = change(&both, ticked, Some("3"), &["nightly/3"]).await;
    assert_eq!(events(&mut both), json!(["nightly/1", "nightly/2", "nightly/3"]));
    for id in ["nightly/1", "nightly/3"] {
        assert_eq!(both.go.task(id)["state"], "pending");
    }
    assert_eq!(change(&both, ticked, None, &[]).await, None);
    assert_eq!(events(&mut both), json!([]), "they go with it");
}
