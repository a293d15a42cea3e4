//! A server of ours on queues that Go uses: what Go brings in is listed and runs at once, Go's cancel reaches our runs,
//! and kinds that only Go handles are left to Go.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use windlass::{
    Client, JobContext, JobFilter, JobState as State, RawJob, Router, RunningServer, Server,
    store::{Groups, Inspect, redis::RedisStore},
};

use crate::{Both, both, sides::id};

/// A server of ours with this router.
pub(crate) async fn serve(both: &Both, router: Router) -> RunningServer {
    let store = RedisStore::open(&both.url, both.env.clone()).await.expect("open");
    let client = Client::builder().env(both.env.clone()).on(Arc::new(store));
    Server::new(&client, router).queues([("q", 1)]).start().await.expect("start")
}

#[tokio::test]
async fn what_go_brings_in_is_listed_in_every_state() {
    let mut both = both!();
    for (name, extra) in [("now", json!({})), ("later", json!({"in_ms": 60_000})), ("grouped", json!({"group": "g"}))] {
        let mut command = json!({"do": "enqueue", "queue": "q", "id": name, "kind": "mail", "payload": ""});
        command.as_object_mut().expect("a map").extend(extra.as_object().cloned().expect("a map"));
        both.go.tell(command);
    }
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "gone", "kind": "mail", "payload": ""}));
    both.go.tell(json!({"do": "archive", "queue": "q", "id": "gone"}));
    let listed = both.store.list(&JobFilter::default(), None, 100).await.expect("list");
    let mut found: Vec<_> = listed.items.iter().map(|job| (job.spec.id.to_string(), job.state)).collect();
    found.sort();
    let expected =
        [("gone", State::Dead), ("grouped", State::Aggregating), ("later", State::Scheduled), ("now", State::Pending)];
    assert_eq!(found, expected.map(|(name, state)| (name.to_owned(), state)));
    both.go.tell(json!({"do": "delete", "queue": "q", "id": "gone"}));
    assert_eq!(both.store.list(&JobFilter::default(), None, 100).await.expect("list").items.len(), 3);
}

/// Go does not run here: nobody takes what stands in front.
#[tokio::test]
async fn a_server_finds_its_kind_behind_thousands_that_only_go_handles() {
    let mut both = both!();
    both.fill_pending(12_000);
    both.go.tell(json!({
        "do": "enqueue", "queue": "q", "id": "ours", "kind": "ours", "payload": "{}", "retain_ms": 60_000,
    }));
    let list = |both: &Both| {
        let mut read = redis::cmd("LRANGE");
        read.arg("asynq:{q}:pending").arg(1).arg(-1).query::<Vec<String>>(&mut both.redis()).expect("the list")
    };
    let before = list(&both);
    let router = Router::new().at("ours", |_: RawJob| async { Ok::<_, windlass::JobError>(()) });
    let server = serve(&both, router).await;
    both.until(&id("ours"), State::Completed).await;
    server.shutdown().await;
    let mut after = list(&both);
    after.insert(0, before[0].clone());
    assert_eq!(after, before, "the others stand as they stood");
}

/// Go notes only the second in which a task joined.
#[tokio::test]
async fn a_group_that_go_filled_is_as_old_as_its_members() {
    let mut both = both!();
    let began = both.env.wall();
    for name in ["a", "b"] {
        both.go.tell(json!({"do": "enqueue", "queue": "q", "id": name, "kind": "mail", "payload": "", "group": "g"}));
    }
    let mut page = both.store.groups(None, None, 10).await.expect("groups");
    while page.now.since(began) < Duration::from_millis(1500) {
        both.env.sleep(Duration::from_millis(50)).await;
        page = both.store.groups(None, None, 10).await.expect("groups");
    }
    let group = &page.items[0];
    assert!(page.now.since(group.newest_at) >= Duration::from_millis(400), "{group:?} at {:?}", page.now);
    assert!(group.newest_at >= began.before(Duration::from_secs(1)), "{group:?} since {began:?}");
}

#[tokio::test]
async fn gos_cancel_ends_a_run_of_ours_as_a_failed_attempt() {
    let mut both = both!();
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "told", "kind": "long", "payload": "{}"}));
    let until_told = |_: RawJob, ctx: JobContext| async move {
        ctx.cancelled().await;
        Err::<(), _>(windlass::JobError::from("told to stop"))
    };
    let server = serve(&both, Router::new().at("long", until_told)).await;
    both.until(&id("told"), State::Running).await;
    // Asynq's channel is one for all databases of a server, hence the id. It is a hint: the subscription may have been made only now.
    let mut record = both.record(&id("told")).await;
    while record.state == State::Running {
        both.go.tell(json!({"do": "cancel", "id": "told"}));
        both.env.sleep(Duration::from_millis(100)).await;
        record = both.record(&id("told")).await;
    }
    assert_eq!((record.state, record.failures), (State::Retrying, 1));
    let task = both.go.task("told");
    assert_eq!((&task["state"], &task["retried"]), (&json!("retry"), &json!(1)));
    server.shutdown().await;
}

#[tokio::test]
async fn a_job_of_gos_starts_within_a_second_on_an_idle_server() {
    let mut both = both!();
    let server = serve(&both, Router::new().at("mail", |_: RawJob| async { Ok::<_, windlass::JobError>(()) })).await;
    both.env.sleep(Duration::from_secs(3)).await;
    for number in 0..3 {
        let name = format!("a{number}");
        both.go.tell(json!({
            "do": "enqueue", "queue": "q", "id": name, "kind": "mail", "payload": "{}", "retain_ms": 60_000,
        }));
        let record = both.until(&id(&name), State::Completed).await;
        let waited = record.started_at.expect("it ran").since(record.pending_at.expect("it waited"));
        assert!(waited < Duration::from_millis(1200), "{waited:?}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn kinds_that_only_go_handles_are_left_to_go() {
    let mut both = both!();
    let router = Router::new().at("ours", |_: RawJob| async { Ok::<_, windlass::JobError>(()) });
    let server = serve(&both, router).await;
    for number in 0..50 {
        for kind in ["theirs", "ours"] {
            let name = format!("{kind}-{number}");
            both.go.tell(json!({
                "do": "enqueue", "queue": "q", "id": name, "kind": kind, "payload": "{}", "retain_ms": 60_000,
            }));
        }
    }
    for number in 0..50 {
        both.until(&id(&format!("ours-{number}")), State::Completed).await;
        let theirs = both.record(&id(&format!("theirs-{number}"))).await;
        assert_eq!((theirs.state, theirs.failures, theirs.attempt), (State::Pending, 0, 0));
    }
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    for number in 0..50 {
        let theirs = both.until(&id(&format!("theirs-{number}")), State::Completed).await;
        assert_eq!(theirs.result.as_deref(), Some(&b"done by go"[..]));
    }
    assert_eq!(both.go.queue()["failed"], 0);
    server.shutdown().await;
}
