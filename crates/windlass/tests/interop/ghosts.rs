//! Damage that an eviction, a fail-over or Asynq itself leaves, and that Asynq never puts right: each is made here, by
//! Go where it can be, and gone after a sweep of ours.

use std::time::Duration;

use redis::cmd;
use serde_json::json;
use windlass::{
    Action, JobFilter, JobId, JobOptions, JobState as State, UniqueBy, Verdict,
    store::{Inspect, Operate, Operated, Prune, Store},
    testing::job,
};

use crate::{Both, both, queue};

const HOUR: Duration = Duration::from_secs(3600);

impl Both {
    /// What a server of ours does every quarter of a minute.
    pub(crate) async fn prune(&self) {
        self.store.prune(&Prune::Expired, 500).await.expect("prune");
    }

    pub(crate) fn names(&self, pattern: &str) -> Vec<String> {
        let mut names: Vec<String> = cmd("KEYS").arg(pattern).query(&mut self.redis()).expect("keys");
        names.sort();
        names
    }

    fn length(&self, list: &str) -> usize {
        cmd("LLEN").arg(format!("asynq:{{q}}:{list}")).query(&mut self.redis()).expect("a length")
    }

    /// Jobs by the codes of their states.
    async fn counts(&self) -> [u64; 9] {
        self.store.census().await.expect("census").queues[0].by_state
    }

    async fn listed(&self) -> usize {
        self.store.list(&JobFilter::default(), None, 1000).await.expect("list").items.len()
    }
}

fn id(text: &str) -> JobId {
    text.parse().expect("an id")
}

#[tokio::test]
async fn ids_without_a_job_fall_out_of_every_set() {
    let mut both = both!();
    let live = both.add("mail", JobOptions::new()).await;
    let mut redis = both.redis();
    for set in ["scheduled", "retry", "archived", "completed", "x:dead"] {
        let put = format!("asynq:{{q}}:{set}");
        cmd("ZADD").arg(put).arg(4_000_000_000_u64).arg(format!("ghost-{set}")).exec(&mut redis).expect("ZADD");
        // A task that is gone, and into which a late worker has written its result.
        let rest = format!("asynq:{{q}}:t:ghost-{set}");
        cmd("HSET").arg(rest).arg("result").arg("late").exec(&mut redis).expect("HSET");
    }
    cmd("LPUSH").arg("asynq:{q}:pending").arg("ghost").arg("ghost-2").exec(&mut redis).expect("LPUSH");
    cmd("HSET").arg("asynq:{q}:t:ghost-2").arg("state").arg("pending").exec(&mut redis).expect("HSET");
    both.prune().await;
    assert_eq!(both.names("asynq:{q}:t:*"), [format!("asynq:{{q}}:t:{live}")]);
    let queue = both.go.queue();
    for state in ["scheduled", "retry", "archived", "completed"] {
        assert_eq!(queue[state], 0, "{state}");
    }
    assert_eq!(queue["pending"], 1);
    assert_eq!((both.claim_one().await.spec.id.clone(), both.names("*x:dead").len()), (live, 0));
}

#[tokio::test]
async fn ids_that_stand_twice_stand_once_after_a_sweep() {
    let mut both = both!();
    let pending = both.add("mail", JobOptions::new()).await;
    let later = both.add("mail", JobOptions::new().process_in(HOUR)).await;
    let mut redis = both.redis();
    cmd("LPUSH")
        .arg("asynq:{q}:pending")
        .arg(pending.to_string())
        .arg(later.to_string())
        .exec(&mut redis)
        .expect("LPUSH");
    cmd("ZADD").arg("asynq:{q}:retry").arg(4_000_000_000_u64).arg(pending.to_string()).exec(&mut redis).expect("ZADD");
    both.prune().await;
    assert_eq!((both.length("pending"), both.go.queue()["retry"].as_u64()), (1, Some(0)));
    assert_eq!(both.record(&later).await.state, State::Scheduled);
    assert_eq!(both.claim_one().await.spec.id, pending);
}

/// Go ends a task whose lease is missing by halves: it takes it out of `active`, and it stands nowhere any more.
#[tokio::test]
async fn a_task_that_go_ended_by_halves_is_taken_over() {
    let mut both = both!();
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "a", "kind": "hold", "payload": ""}));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.until(&id("a"), State::Running).await;
    assert_eq!(both.listed().await, 1, "we know of it");
    cmd("ZREM").arg("asynq:{q}:lease").arg("a").exec(&mut both.redis()).expect("ZREM");
    both.go.tell(json!({"do": "let_go", "id": "a"}));
    while both.length("active") > 0 {
        both.env.sleep(Duration::from_millis(10)).await;
    }
    both.go.tell(json!({"do": "stop"}));
    assert_eq!(both.go.task("a")["state"], "active", "the control: Go thinks that it runs, and never ends it");
    both.prune().await;
    assert_eq!(both.length("active"), 1);
    both.let_gos_lease_lapse("a");
    both.sweep().await;
    assert_eq!(both.record(&id("a")).await.state, State::Retrying);
}

/// What we took over from a Go worker may be done and gone when that worker wakes and writes its result.
#[tokio::test]
async fn what_a_zombie_of_go_writes_of_a_job_that_is_gone_goes_too() {
    let mut both = both!();
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "a", "kind": "hold", "payload": ""}));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.until(&id("a"), State::Running).await;
    both.let_gos_lease_lapse("a");
    both.sweep().await;
    both.store.operate(&id("a"), &Action::RunNow).await.expect("run now");
    let claimed = both.claim_one().await;
    both.finish(claimed.lease(), Verdict::Complete).await;
    cmd("HSET").arg("asynq:{q}:t:a").arg("result").arg("done by go").exec(&mut both.redis()).expect("HSET");
    both.prune().await;
    assert_eq!(both.names("asynq:{q}:t:*"), [""; 0]);
    let enqueued = both.go.ask(json!({"do": "enqueue", "queue": "q", "id": "a", "kind": "mail", "payload": ""}));
    assert!(enqueued.get("error").is_none(), "the id is free: {enqueued}");
    both.go.tell(json!({"do": "let_go", "id": "a"}));
    both.go.tell(json!({"do": "stop"}));
}

/// Asynq's archiving stops half-way when thousands are too old at once (`defects.rs` shows it on Go).
#[tokio::test]
async fn a_task_left_active_among_the_archived_is_dead() {
    let mut both = both!();
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "a", "kind": "mail", "payload": ""}));
    both.go.tell(json!({"do": "archive", "queue": "q", "id": "a"}));
    cmd("HSET").arg("asynq:{q}:t:a").arg("state").arg("active").exec(&mut both.redis()).expect("HSET");
    assert!(both.go.ask(json!({"do": "run", "queue": "q", "id": "a"})).get("error").is_some(), "the control");
    both.prune().await;
    assert_eq!(both.record(&id("a")).await.state, State::Dead);
    both.go.tell(json!({"do": "run", "queue": "q", "id": "a"}));
    assert_eq!(both.claim_one().await.spec.id, id("a"));
}

/// Asynq's archive-all trims ids and forgets their tasks.
#[tokio::test]
async fn a_dead_job_that_gos_archive_all_lost_is_found() {
    let mut both = both!();
    let lost = both.add("mail", JobOptions::new()).await;
    both.store.operate(&lost, &Action::Bury).await.expect("bury");
    both.fill_archived(9_998, both.now() + 10);
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "a", "kind": "k", "payload": "", "in_ms": 60_000}));
    both.go.tell(json!({"do": "archive_all", "queue": "q", "state": "scheduled"}));
    assert_eq!((both.size("archived"), both.dead().await), (9_999, 9_999), "the control: one is lost");
    both.prune().await;
    assert_eq!((both.size("x:dead"), both.dead().await), (1, 10_000));
    assert_eq!(both.store.operate(&lost, &Action::Redrive).await.expect("redrive"), Operated::Done(State::Pending));
}

#[tokio::test]
async fn nothing_of_ours_is_left_of_a_job_that_go_deleted() {
    let mut both = both!();
    let unique = |key: &str| JobOptions::new().unique(UniqueBy::until_done(key));
    let buried = both.add("mail", unique("a")).await;
    let cancelled = both.add("mail", unique("b")).await;
    let waiting = both.add("mail", unique("c").process_in(HOUR)).await;
    let kept = both.add("mail", JobOptions::new().retention(HOUR)).await;
    both.store.operate(&buried, &Action::Bury).await.expect("bury");
    both.store.operate(&cancelled, &Action::Cancel { reason: "unwanted".into() }).await.expect("cancel");
    let claimed = both.claim_one().await;
    both.finish(claimed.lease(), Verdict::Complete).await;
    for gone in [&buried, &cancelled, &waiting, &kept] {
        both.go.tell(json!({"do": "delete", "queue": "q", "id": gone.to_string()}));
    }
    both.prune().await;
    assert_eq!(both.counts().await, [0; 9]);
    for set in ["due", "expire", "unique", "ended:6", "ended:7", "ended:8"] {
        assert_eq!(both.names(&format!("asynq:{{q}}:x:{set}")), [""; 0], "{set}");
    }
}

#[tokio::test]
async fn what_go_ended_is_pruned_like_what_we_ended() {
    let mut both = both!();
    for name in ["a", "b"] {
        both.go.tell(json!({"do": "enqueue", "queue": "q", "id": name, "kind": "mail", "payload": ""}));
        both.go.tell(json!({"do": "archive", "queue": "q", "id": name}));
    }
    both.prune().await;
    let all = Prune::Older { than: Duration::ZERO, states: vec![State::Dead] };
    assert_eq!(both.store.prune(&all, 500).await.expect("prune").removed, 2);
    assert_eq!(both.go.queue()["archived"], 0);
}

/// Scripts are held to their bounds elsewhere; a sweep goes on as long as they find much.
#[tokio::test]
async fn a_sweep_goes_on_while_there_is_much_to_put_right() {
    let both = both!();
    let mut fill = redis::pipe();
    fill.cmd("SADD").arg("asynq:queues").arg("q").ignore();
    for number in 0..3_000_u64 {
        fill.cmd("ZADD").arg("asynq:{q}:scheduled").arg(4_000_000_000 + number).arg(format!("ghost-{number}")).ignore();
    }
    fill.exec(&mut both.redis()).expect("entries");
    both.prune().await;
    assert!(both.size("scheduled") < 50, "{} are left", both.size("scheduled"));
}

#[tokio::test]
async fn nothing_is_left_of_a_queue_that_go_deleted() {
    let mut both = both!();
    let done = both.add("mail", JobOptions::new().retention(HOUR)).await;
    let claimed = both.claim_one().await;
    assert_eq!(claimed.spec.id, done);
    both.finish(claimed.lease(), Verdict::Complete).await;
    both.add("mail", JobOptions::new().unique(UniqueBy::until_done("a"))).await;
    both.add("mail", JobOptions::new().process_in(HOUR).unique(UniqueBy::idempotency("b", HOUR))).await;
    both.prune().await;
    both.go.tell(json!({"do": "delete_queue", "queue": "q", "state": "force"}));
    assert!(!both.names("asynq:{q}:t:*").is_empty(), "the control: Go leaves what has completed");
    both.prune().await;
    let counters = |name: &String| name.contains("processed") || name.contains("x:claim");
    let left: Vec<_> = both.names("asynq:{q}:*").into_iter().filter(|name| !counters(name)).collect();
    assert_eq!(left, ["asynq:{q}:x:q"]);
    assert!(both.store.census().await.expect("census").queues.is_empty());
    // A queue of that name begins anew.
    let again = both.add("mail", JobOptions::new().unique(UniqueBy::until_done("a"))).await;
    assert_eq!((both.claim_one().await.spec.id.clone(), both.counts().await[4]), (again, 1));
}

#[tokio::test]
async fn a_queue_that_go_deleted_with_jobs_of_ours_in_it_is_one_again() {
    let mut both = both!();
    let urgent = both.add("mail", JobOptions::new().priority(5)).await;
    both.prune().await;
    both.go.tell(json!({"do": "delete_queue", "queue": "q"}));
    assert!(both.store.census().await.expect("census").queues.is_empty(), "the control: Go does not see it");
    both.prune().await;
    assert_eq!(both.record(&urgent).await.state, State::Pending);
    assert_eq!(both.claim_one().await.spec.id, urgent);
    assert!(both.go.queue().get("error").is_none());
}

/// A client that has known the queue for long does not register it again.
#[tokio::test]
async fn a_job_for_a_queue_that_go_deleted_meanwhile_is_found() {
    let mut both = both!();
    let first = both.add("mail", JobOptions::new()).await;
    both.prune().await;
    both.store.operate(&first, &Action::Delete).await.expect("delete");
    both.go.tell(json!({"do": "delete_queue", "queue": "q", "state": "force"}));
    let late = job("mail").options(JobOptions::new().queue("q").process_in(HOUR)).build(&both.env);
    let name = late.spec.id.clone();
    both.store.enqueue(vec![late]).await.expect("enqueue");
    both.prune().await;
    assert_eq!(both.record(&name).await.state, State::Scheduled);
    let known: bool =
        cmd("SISMEMBER").arg("asynq:queues").arg(queue().as_str()).query(&mut both.redis()).expect("an answer");
    assert!(known);
}
