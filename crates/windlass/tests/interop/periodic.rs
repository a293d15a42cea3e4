//! A scheduler of Go's, whose tasks run here.

use serde_json::{Value, json};
use windlass::{JobError, JobState as State, Json, RawJob, Router};

use crate::{both, mixed::serve, sides::id};

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
    both.go.tell(json!({"do": "unschedule"}));
    for event in events {
        let Value::String(event) = event else { panic!("{event} is no id") };
        let done = both.until(&id(&event), State::Completed).await;
        assert_eq!((done.spec.kind.as_str(), done.result.as_deref()), ("tick", Some(&br#""tock""#[..])));
        assert_eq!(both.go.task(&event)["state"], "completed");
    }
    server.shutdown().await;
}
