//! A scheduler of Go's, whose tasks run here and whose entries are shown here; and what Asynq's tools show of ours.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use windlass::{
    Client, JobError, JobOptions, JobState as State, Json, RawJob, Router, RunningServer, Schedule, Server,
    store::{Revision, ScheduleChange, ScheduleChanged, ScheduleKey, Schedules, redis::RedisStore},
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

/// A server of ours that declares `nightly` and `beat`.
async fn declaring(both: &Both) -> RunningServer {
    let options = |options: JobOptions| options.queue("q").max_retry(3).timeout(SECOND * 90).retention(SECOND * 60);
    let report = RawJob::new("report", r#"{"of":"day"}"#).with(options);
    let nightly = Schedule::cron("nightly", "0 30 2 * * *").timezone("Europe/Berlin").job(report);
    let beat = Schedule::every("beat", SECOND).job(RawJob::new("beat", "{}").with(|options| options.queue("q")));
    let store = RedisStore::open(&both.url, both.env.clone()).await.expect("open");
    let client = Client::builder().env(both.env.clone()).on(Arc::new(store));
    let router = Router::new().at("*", |_: RawJob| async { Ok::<_, JobError>(()) });
    let server = Server::new(&client, router).queues([("q", 1)]).schedule(nightly).schedule(beat);
    server.start().await.expect("start")
}

const SECOND: Duration = Duration::from_secs(1);

/// What Go's tools list, once they list so many.
async fn listed(both: &mut Both, many: usize) -> Vec<Value> {
    for _ in 0..1500 {
        let answer = both.go.tell(json!({"do": "entries"}));
        let mut found = answer["entries"].as_array().cloned().expect("entries");
        if found.len() == many {
            found.sort_by_key(|entry| entry["id"].to_string());
            return found;
        }
        both.env.sleep(Duration::from_millis(20)).await;
    }
    panic!("{many} are never listed: {}", both.go.tell(json!({"do": "entries"})));
}

#[tokio::test]
async fn our_schedules_are_entries_to_gos_tools_while_a_server_of_ours_lives() {
    let mut both = both!();
    let server = declaring(&both).await;
    let found = listed(&mut both, 2).await;
    let (beat, nightly) = (&found[0], &found[1]);
    assert_eq!((&beat["id"], &beat["spec"], &beat["kind"]), (&json!("beat"), &json!("@every 1s"), &json!("beat")));
    assert_eq!((&nightly["id"], &nightly["kind"]), (&json!("nightly"), &json!("report")));
    assert_eq!(nightly["spec"], "CRON_TZ=Europe/Berlin 0 30 2 * * *");
    assert_eq!(nightly["payload"], r#"{"of":"day"}"#);
    let options = [r#"Queue("q")"#, "MaxRetry(3)", "Timeout(1m30s)", "Retention(1m0s)"];
    assert_eq!(nightly["options"], json!(options));
    let millis = |of: &Value| of.as_i64().expect("milliseconds");
    let (next, now) = (millis(&nightly["next_ms"]), both.env.wall().as_micros() / 1000);
    assert!(next > now - 60_000 && next <= now + 26 * 3_600_000, "{next} at {now}");
    assert_eq!(nightly["never"], true, "it has not ticked yet");
    assert_eq!(both.store.foreign_schedules().await.expect("Go's entries"), [], "they are not Go's");
    let key = "asynq:schedulers:{windlass:0:schedules-0}";
    let left: i64 = redis::cmd("PTTL").arg(key).query(&mut both.redis()).expect("a time");
    assert!((1..=30_000).contains(&left), "they go by themselves when no server shows them again: {left} ms");
    while both.go.tell(json!({"do": "events", "id": "beat"}))["ids"] == json!([]) {
        both.env.sleep(Duration::from_millis(20)).await;
    }
    server.shutdown().await;
    assert_eq!(both.go.tell(json!({"do": "entries"}))["entries"], json!([]), "nothing lets them tick");
    // Since `beat` has ticked, the next server can say when.
    let server = declaring(&both).await;
    let beat = listed(&mut both, 2).await.remove(0);
    let (last, next) = (millis(&beat["prev_ms"]), millis(&beat["next_ms"]));
    assert!(beat["never"] == false && last > now - 60_000 && last < next, "{beat}");
    server.shutdown().await;
}
