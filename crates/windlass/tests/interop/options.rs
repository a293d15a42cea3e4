//! Every option of Asynq's client, both ways: what one side asks for, the other keeps to, by Go's rules.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::{
    JobContext, JobError, JobOptions, JobRecord, JobState as State, Json, RawJob, Router, Timestamp,
    store::{Inspect, PromoteRules, Promoted, Store},
};

use crate::{Both, both, mixed::serve, sides::id};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// A moment in 2096, and half a second.
const FAR_MS: u64 = 4_000_000_000_500;

impl Both {
    /// Go's client enqueues with these options, and we look at the job.
    async fn brought_in(&mut self, name: &str, extra: Value) -> JobRecord {
        let mut command = json!({"do": "enqueue", "queue": "q", "id": name, "kind": "mail", "payload": "{}"});
        command.as_object_mut().expect("a map").extend(extra.as_object().cloned().expect("a map"));
        self.go.tell(command);
        self.record(&id(name)).await
    }
}

fn far(millis: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(millis).expect("a moment") * 1000)
}

#[tokio::test]
async fn what_gos_client_asks_for_is_what_we_read() {
    let mut both = both!();
    let plain = both.brought_in("plain", json!({})).await;
    assert_eq!((plain.state, plain.spec.max_retry, plain.spec.timeout), (State::Pending, 25, 30 * MINUTE));
    assert_eq!((plain.spec.deadline, plain.spec.retention, plain.spec.group.as_deref()), (None, Duration::ZERO, None));

    let tries = both.brought_in("tries", json!({"max_retry": 3})).await;
    assert_eq!(tries.spec.max_retry, 3);
    let brief = both.brought_in("brief", json!({"timeout_ms": 90_000})).await;
    assert_eq!(brief.spec.timeout, 90 * SECOND);
    // With a deadline alone there is no timeout; a timeout beside it stays.
    let until = both.brought_in("until", json!({"deadline_ms": FAR_MS})).await;
    assert_eq!(until.spec.deadline, Some(far(FAR_MS - 500)), "Go cuts it to a whole second");
    assert!(until.spec.timeout > 1000 * 24 * 60 * MINUTE);
    let both_ends = both.brought_in("both-ends", json!({"deadline_ms": FAR_MS, "timeout_ms": 5000})).await;
    assert_eq!((both_ends.spec.timeout, both_ends.spec.deadline.is_some()), (5 * SECOND, true));
    let kept = both.brought_in("kept", json!({"retain_ms": 60_000})).await;
    assert_eq!(kept.spec.retention, MINUTE);
    let headed = both.brought_in("headed", json!({"headers": {"trace": "1", "k": "v"}})).await;
    assert_eq!((headed.spec.headers["trace"].as_str(), headed.spec.headers["k"].as_str()), ("1", "v"));

    let at = both.brought_in("at", json!({"at_ms": FAR_MS})).await;
    assert_eq!((at.state, at.run_at), (State::Scheduled, Some(far(FAR_MS - 500))), "Go cuts it to a whole second");
    let later = both.brought_in("later", json!({"in_ms": 600_000})).await;
    let wait = later.run_at.expect("a time").since(both.env.wall());
    assert!(wait > 9 * MINUTE && wait <= 10 * MINUTE, "{wait:?}");
    let past = both.brought_in("past", json!({"at_ms": 1000})).await;
    assert_eq!(past.state, State::Pending);
    let grouped = both.brought_in("grouped", json!({"group": "g"})).await;
    assert_eq!((grouped.state, grouped.spec.group.as_deref()), (State::Aggregating, Some("g")));
    let elsewhere = both.brought_in("elsewhere", json!({"queue": "other"})).await;
    assert_eq!(elsewhere.spec.queue.as_str(), "other");
    let unique = both.brought_in("unique", json!({"unique_ms": 60_000, "payload": "1"})).await;
    assert_eq!((unique.state, unique.spec.unique), (State::Pending, None), "the lock is Go's");
}

#[tokio::test]
async fn what_we_ask_for_is_what_gos_inspector_reads() {
    let mut both = both!();
    let plain = both.add("mail", JobOptions::new()).await;
    let shown = both.go.task(&plain.to_string());
    assert_eq!((&shown["max_retry"], &shown["timeout_ms"]), (&json!(25), &json!(1_800_000)));
    assert_eq!((&shown["retain_ms"], &shown["deadline_ms"], &shown["group"]), (&json!(0), &json!(0), &json!("")));
    let cases = [
        (JobOptions::new().max_retry(3), "max_retry", json!(3)),
        (JobOptions::new().timeout(90 * SECOND), "timeout_ms", json!(90_000)),
        (JobOptions::new().timeout(Duration::from_millis(1500)), "timeout_ms", json!(2000)),
        (JobOptions::new().deadline(far(FAR_MS)), "deadline_ms", json!(FAR_MS - 500)),
        (JobOptions::new().retention(MINUTE), "retain_ms", json!(60_000)),
        (JobOptions::new().header("k", "v"), "headers", json!({"k": "v"})),
        (JobOptions::new().group("g"), "group", json!("g")),
        (JobOptions::new().group("g"), "state", json!("aggregating")),
        (JobOptions::new().process_in(10 * MINUTE), "state", json!("scheduled")),
        (
            JobOptions::new().process_at(std::time::UNIX_EPOCH + Duration::from_millis(FAR_MS)),
            "next_ms",
            json!(FAR_MS + 500),
        ),
        (JobOptions::new().id("an id of ours/1"), "id", json!("an id of ours/1")),
    ];
    for (options, field, expected) in cases {
        let id = both.add("mail", options).await;
        assert_eq!(both.go.task(&id.to_string())[field], expected, "{field}");
    }
}

/// Enqueued by Go, run by a server of ours.
#[tokio::test]
async fn a_server_of_ours_runs_gos_tasks_by_gos_rules() {
    let mut both = both!();
    let router = Router::new()
        .at("fail", |_: RawJob| async { Err::<(), _>(JobError::from("no")) })
        .at("long", |_: RawJob, ctx: JobContext| async move {
            ctx.cancelled().await;
            Ok::<_, JobError>(())
        })
        .at("echo", |job: RawJob, ctx: JobContext| async move {
            Ok::<_, JobError>(Json(format!("{} {}", String::from_utf8_lossy(&job.payload), ctx.headers()["k"])))
        });
    for (name, kind, extra) in [
        ("last", "fail", json!({"max_retry": 0})),
        ("again", "fail", json!({"max_retry": 1})),
        ("brief", "long", json!({"timeout_ms": 1000})),
        ("over", "echo", json!({"deadline_ms": 1_000_000, "headers": {"k": "v"}})),
        ("kept", "echo", json!({"retain_ms": 60_000, "payload": "hello", "headers": {"k": "v"}})),
        ("gone", "echo", json!({"headers": {"k": "v"}})),
    ] {
        let mut extra = extra;
        extra["kind"] = json!(kind);
        both.brought_in(name, extra).await;
    }
    let server = serve(&both, router).await;
    let last = both.until(&id("last"), State::Dead).await;
    assert_eq!(last.failures, 1);
    assert_eq!(
        (&both.go.task("last")["state"], &both.go.task("last")["last_error"]),
        (&json!("archived"), &json!("no"))
    );
    both.until(&id("again"), State::Retrying).await;
    assert_eq!(both.go.task("again")["retried"], 1);
    both.until(&id("brief"), State::Retrying).await;
    assert_eq!(both.go.task("brief")["last_error"], "ran longer than its timeout of 1s");
    // Go would retry it until it is exhausted, without calling its handler either.
    let over = both.until(&id("over"), State::Dead).await;
    assert_eq!(over.reason.as_deref(), Some("deadline"));
    both.until(&id("kept"), State::Completed).await;
    assert_eq!(both.go.task("kept")["result"], r#""hello v""#);
    while both.store.get(&id("gone")).await.expect("get").is_some() {
        both.env.sleep(Duration::from_millis(10)).await;
    }
    server.shutdown().await;
}

/// Enqueued by us, run by a server of Go's.
#[tokio::test]
async fn a_server_of_gos_runs_our_jobs_by_our_options() {
    let mut both = both!();
    let last = both.add("fail", JobOptions::new().max_retry(0)).await;
    let again = both.add("fail", JobOptions::new().max_retry(1)).await;
    let brief = both.add("hold", JobOptions::new().timeout(SECOND)).await;
    let over = both.add("hold", JobOptions::new().deadline(far(1_000_000)).max_retry(0)).await;
    let kept = both.add("ok", JobOptions::new().retention(MINUTE).header("k", "v")).await;
    let later = both.add("ok", JobOptions::new().process_in(SECOND).retention(MINUTE)).await;
    let group = both.add("ok", JobOptions::new().group("g")).await;
    both.go.tell(json!({"do": "serve", "queue": "q", "retry_ms": 600_000}));
    assert_eq!(both.until(&last, State::Dead).await.errors[0].message, "go says no");
    assert_eq!(both.until(&again, State::Retrying).await.failures, 1);
    assert_eq!(both.until(&brief, State::Retrying).await.errors[0].message, "context deadline exceeded");
    assert_eq!(both.until(&over, State::Dead).await.errors[0].message, "context deadline exceeded");
    for id in [kept, later] {
        assert_eq!(both.until(&id, State::Completed).await.result.as_deref(), Some(&b"done by go"[..]));
    }
    assert_eq!(both.record(&group).await.state, State::Aggregating, "this server has no aggregator");
}

/// Go's forwarder and ours see the same tasks: one that Go scheduled is promoted here, exactly once.
#[tokio::test]
async fn what_go_scheduled_is_promoted_here() {
    let mut both = both!();
    both.brought_in("soon", json!({"in_ms": 1000})).await;
    let mut promoted = Promoted::default();
    for _ in 0..500 {
        promoted = both.store.promote(&PromoteRules::all(10)).await.expect("promote");
        if promoted.moved > 0 {
            break;
        }
        assert!(promoted.next_due.is_some_and(|wait| wait <= SECOND), "{promoted:?}");
        both.env.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((promoted.moved, both.store.promote(&PromoteRules::all(10)).await.expect("promote").moved), (1, 0));
    assert_eq!(both.claim_one().await.spec.id, id("soon"));
}
