//! What one side enqueues, the other runs, lists, pauses, archives and runs again.

use std::time::Duration;

use serde_json::json;
use windlass::{
    Action, JobOptions, JobState as State, Verdict,
    store::{Cluster, Enqueued, Finished, Inspect, Operate, PromoteRules, RescueRules, ServerInfo, Store},
    testing::job,
};

use crate::{both, queue};

#[tokio::test]
async fn what_go_enqueues_rust_runs_and_go_sees_its_result() {
    let mut both = both!();
    both.go.tell(json!({
        "do": "enqueue", "queue": "q", "id": "a", "kind": "mail", "payload": "{\"to\":1}", "max_retry": 3,
        "timeout_ms": 90_000, "retain_ms": 60_000, "headers": {"k": "v"},
    }));
    let claimed = both.claim_one().await;
    let spec = &claimed.spec;
    assert_eq!((spec.kind.as_str(), &spec.payload[..], spec.max_retry), ("mail", &br#"{"to":1}"#[..], 3));
    assert_eq!((spec.timeout, spec.retention), (Duration::from_secs(90), Duration::from_secs(60)));
    assert_eq!((spec.headers["k"].as_str(), claimed.attempt), ("v", 1));
    assert!(claimed.waited < Duration::from_secs(60));
    assert_eq!(both.finish(claimed.lease(), Verdict::Complete).await, Finished::Applied(State::Completed));
    let task = both.go.task("a");
    assert_eq!((&task["state"], &task["result"]), (&json!("completed"), &json!("done by rust")));
    let queue = both.go.queue();
    assert_eq!((&queue["completed"], &queue["processed"], &queue["failed"]), (&json!(1), &json!(1), &json!(0)));
}

#[tokio::test]
async fn what_rust_enqueues_go_runs_and_rust_sees_its_result() {
    let mut both = both!();
    let options = JobOptions::new().retention(Duration::from_secs(60)).header("k", "v").max_retry(7);
    let id = both.add("mail", options).await;
    let shown = both.go.task(&id.to_string());
    assert_eq!((&shown["state"], &shown["max_retry"]), (&json!("pending"), &json!(7)));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    let record = both.until(&id, State::Completed).await;
    assert_eq!(record.result.as_deref(), Some(&b"done by go"[..]));
    let ran = both.go.tell(json!({"do": "ran"}));
    assert_eq!((&ran["ran"][0]["payload"], &ran["ran"][0]["headers"]["k"]), (&json!("{}"), &json!("v")));
}

#[tokio::test]
async fn what_fails_in_go_goes_on_in_rust_with_its_failures_counted() {
    let mut both = both!();
    let id = both.add("fail", JobOptions::new()).await;
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.until(&id, State::Retrying).await;
    both.go.tell(json!({"do": "stop"}));
    let record = both.record(&id).await;
    assert!(record.failures >= 1);
    assert_eq!(record.errors[0].message, "go says no");
    let mut claimed = Vec::new();
    while claimed.is_empty() {
        both.env.sleep(Duration::from_millis(20)).await;
        both.store.promote(&PromoteRules::all(10)).await.expect("promote");
        claimed = both.claim().await;
    }
    assert_eq!((claimed[0].failures, claimed[0].attempt), (record.failures, record.failures + 1));
    both.finish(claimed[0].lease(), Verdict::RetryIn(Duration::from_secs(3600))).await;
    let task = both.go.task(&id.to_string());
    assert_eq!((&task["state"], &task["retried"]), (&json!("retry"), &json!(record.failures + 1)));
}

#[tokio::test]
async fn what_rust_holds_is_active_for_go_and_out_of_its_reach() {
    let mut both = both!();
    let id = both.add("mail", JobOptions::new()).await;
    let claimed = both.claim_one().await;
    let task = both.go.task(&id.to_string());
    assert_eq!((&task["state"], &task["orphaned"]), (&json!("active"), &json!(false)));
    assert_eq!(both.go.queue()["active"], 1);
    for action in ["delete", "archive", "run"] {
        let refused = both.go.ask(json!({"do": action, "queue": "q", "id": id.to_string()}));
        assert!(refused.get("error").is_some(), "{action}");
    }
    let active = both.go.tell(json!({"do": "list", "queue": "q", "state": "active"}));
    assert_eq!(active["tasks"][0]["id"], id.to_string());
    assert_eq!(both.finish(claimed.lease(), Verdict::Release).await, Finished::Applied(State::Pending));
    assert_eq!(both.go.task(&id.to_string())["state"], "pending");
}

#[tokio::test]
async fn a_queue_that_one_side_pauses_is_paused_for_the_other() {
    let mut both = both!();
    both.add("mail", JobOptions::new()).await;
    both.go.tell(json!({"do": "pause", "queue": "q"}));
    assert!(both.claim().await.is_empty());
    assert!(both.store.census().await.expect("census").queues[0].paused);
    both.go.tell(json!({"do": "unpause", "queue": "q"}));
    both.store.pause(&queue(), true).await.expect("pause");
    assert_eq!(both.go.queue()["paused"], true);
    both.store.pause(&queue(), false).await.expect("resume");
    assert_eq!(both.claim().await.len(), 1);
}

#[tokio::test]
async fn what_rust_buries_or_cancels_go_can_run_again() {
    let mut both = both!();
    let buried = both.add("mail", JobOptions::new()).await;
    let cancelled = both.add("mail", JobOptions::new()).await;
    both.store.operate(&buried, &Action::Bury).await.expect("bury");
    both.store.operate(&cancelled, &Action::Cancel { reason: "no longer wanted".into() }).await.expect("cancel");
    let archived = both.go.tell(json!({"do": "list", "queue": "q", "state": "archived"}));
    assert_eq!(archived["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(both.go.task(&cancelled.to_string())["last_error"], "no longer wanted");
    for id in [&buried, &cancelled] {
        both.go.tell(json!({"do": "run", "queue": "q", "id": id.to_string()}));
        assert_eq!(both.record(id).await.state, State::Pending);
    }
    assert_eq!(both.claim().await.len(), 2);
}

#[tokio::test]
async fn a_burial_keeps_what_the_job_failed_with_in_go() {
    let mut both = both!();
    let id = both.add("fail", JobOptions::new().max_retry(3)).await;
    both.go.tell(json!({"do": "serve", "queue": "q", "retry_ms": 60_000}));
    both.until(&id, State::Retrying).await;
    both.go.tell(json!({"do": "stop"}));
    both.store.operate(&id, &Action::Bury).await.expect("bury");
    assert_eq!(both.go.task(&id.to_string())["last_error"], "go says no");
    assert_eq!(both.record(&id).await.errors[0].message, "go says no");
}

#[tokio::test]
async fn what_go_archives_is_dead_and_can_be_redriven() {
    let mut both = both!();
    let id = both.add("skip", JobOptions::new()).await;
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    let record = both.until(&id, State::Dead).await;
    both.go.tell(json!({"do": "stop"}));
    assert!(record.errors[0].message.starts_with("never"), "{:?}", record.errors);
    both.store.operate(&id, &Action::Redrive).await.expect("redrive");
    assert_eq!(both.claim_one().await.spec.id, id);
}

#[tokio::test]
async fn an_id_that_one_side_holds_is_a_conflict_for_the_other() {
    let mut both = both!();
    both.add("mail", JobOptions::new().id("ours")).await;
    let answer = both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "ours", "kind": "mail", "payload": ""}));
    assert_eq!(answer["duplicate"], "id");
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "theirs", "kind": "mail", "payload": ""}));
    let again = job("mail").options(JobOptions::new().id("theirs").queue("q")).build(&both.env);
    let answers = both.store.enqueue(vec![again]).await.expect("enqueue");
    assert!(matches!(&answers[0], Enqueued::Duplicate(_, Some(State::Pending))), "{answers:?}");
}

#[tokio::test]
async fn a_server_of_ours_is_listed_by_gos_inspector() {
    let mut both = both!();
    let mut info = ServerInfo::new(both.server, both.env.wall());
    (info.host, info.pid, info.slots) = ("host-1".into(), 4711, 10);
    info.queues = vec![(queue(), 3)];
    both.store.beat(&info).await.expect("beat");
    let servers = both.go.tell(json!({"do": "servers"}));
    let shown = &servers["servers"][0];
    assert_eq!(
        (&shown["host"], &shown["status"], &shown["queues"]["q"]),
        (&json!("host-1"), &json!("active"), &json!(3))
    );
    both.store.leave(both.server).await.expect("leave");
    assert_eq!(both.go.tell(json!({"do": "servers"}))["servers"], json!([]));
}

/// The zombie: a Go worker that still runs a job after Rust took it over reports nothing that Rust accepts as its own.
#[tokio::test]
async fn a_run_of_rusts_that_go_ended_is_stale() {
    let mut both = both!();
    let id = both.add("hold", JobOptions::new().retention(Duration::from_secs(60))).await;
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.until(&id, State::Running).await;
    // Asynq's lease lapses while the worker goes on: as after a long sleep of its host.
    let mut redis = redis::Client::open(&*both.url).expect("a URL").get_connection().expect("a connection");
    let lapsed = redis::cmd("ZADD").arg("asynq:{q}:lease").arg(1).arg(id.to_string()).query::<()>(&mut redis);
    lapsed.expect("it is only a number");
    let rules = RescueRules { poison_after: 3, lease: Duration::from_secs(10), limit: 10, ran_late: false };
    both.store.rescue(&rules).await.expect("rescue");
    both.until(&id, State::Retrying).await;
    both.store.operate(&id, &Action::RunNow).await.expect("run");
    let claimed = both.claim().await;
    if let Some(held) = claimed.first() {
        both.go.tell(json!({"do": "let_go", "id": id.to_string()}));
        both.until(&id, State::Completed).await;
        assert_eq!(both.finish(held.lease(), Verdict::RetryIn(Duration::ZERO)).await, Finished::Stale);
        assert_eq!(both.record(&id).await.state, State::Completed);
    }
}
