//! Asynq's known defects: each is shown on Go first, which is the control, and then that this store does not have it.

use std::time::Duration;

use serde_json::json;
use windlass::{
    Action, JobOptions, JobState as State, UniqueBy, Verdict,
    store::{Enqueued, Finished, Inspect, Operate, Prune, RescueRules, Store},
    testing::job,
};

use crate::{Both, both};

const MINUTE: Duration = Duration::from_secs(60);

impl Both {
    pub(crate) fn redis(&self) -> redis::Connection {
        redis::Client::open(&*self.url).expect("a URL").get_connection().expect("a connection")
    }

    /// Asynq's lease of a task runs out although its worker goes on, as when the worker's host sleeps.
    pub(crate) fn let_gos_lease_lapse(&self, id: &str) {
        let mut put = redis::cmd("ZADD");
        put.arg("asynq:{q}:lease").arg(1).arg(id).exec(&mut self.redis()).expect("a score");
    }

    pub(crate) async fn sweep(&self) {
        let rules = RescueRules { poison_after: 3, lease: Duration::from_secs(10), limit: 100, ran_late: false };
        self.store.rescue(&rules).await.expect("rescue");
    }
}

/// Defect 1, zombie completion: Go's end of a run that was taken from it ends the run of whoever has it now. Between
/// runs of ours the loser is refused. The control without the fence is in `fence.rs`.
#[tokio::test]
async fn a_late_end_does_not_end_the_newer_run() {
    let mut both = both!();
    let id = both.add("mail", JobOptions::new().retention(MINUTE)).await;
    let first = both.claim_one().await;
    both.finish(first.lease(), Verdict::Release).await;
    let second = both.claim_one().await;
    for verdict in [Verdict::Complete, Verdict::RetryIn(MINUTE), Verdict::Release] {
        assert_eq!(both.finish(first.lease(), verdict).await, Finished::Stale);
    }
    assert_eq!(both.record(&id).await.state, State::Running);
    assert_eq!(both.finish(second.lease(), Verdict::Complete).await, Finished::Applied(State::Completed));
}

/// Defect 2, zombie renewal: the heartbeat of a Go worker moves the lease of whoever has the task now, so that nobody
/// notices when that one dies. Ours is kept apart from it.
#[tokio::test]
async fn a_zombies_heartbeat_keeps_no_dead_run_alive() {
    let mut both = both!();
    // All of Go's slots are taken, so that it does not take the job again itself.
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(both.add("hold", JobOptions::new()).await);
    }
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    for id in &ids {
        both.until(id, State::Running).await;
    }
    let id = ids[0].clone();
    both.let_gos_lease_lapse(&id.to_string());
    both.sweep().await;
    both.store.operate(&id, &Action::RunNow).await.expect("run now");
    let held = both.claim_one().await;
    assert_eq!(held.spec.id, id);

    // Our worker dies. The control: Go's lease of it, which has run out, is renewed by the zombie.
    both.let_gos_lease_lapse(&id.to_string());
    let lease = |both: &Both| -> f64 {
        let mut ask = redis::cmd("ZSCORE");
        ask.arg("asynq:{q}:lease").arg(id.to_string()).query(&mut both.redis()).expect("a score")
    };
    for _ in 0..1500 {
        if lease(&both) > 1.0 {
            break;
        }
        both.env.sleep(Duration::from_millis(10)).await;
    }
    assert!(lease(&both) > 1e9, "the control: the zombie renews what is not its own");
    let mut lapse = redis::cmd("ZADD");
    lapse.arg("asynq:{q}:x:lease").arg("XX").arg(1).arg(id.to_string()).exec(&mut both.redis()).expect("a score");
    both.sweep().await;
    let record = both.record(&id).await;
    assert_eq!((record.state, record.crashes), (State::Pending, 1), "the true lease is ours, and has run out");
}

/// Defect 3, a lock that leaks: the id is taken, but Go holds the key all the same.
#[tokio::test]
async fn an_enqueue_that_is_refused_by_its_id_holds_no_key() {
    let mut both = both!();
    let of_go = json!({"do": "enqueue", "queue": "q", "id": "a", "kind": "mail", "payload": "1"});
    both.go.tell(of_go.clone());
    let mut unique = of_go;
    unique["unique_ms"] = json!(60_000);
    assert_eq!(both.go.tell(unique.clone())["duplicate"], "id");
    unique["id"] = json!("b");
    assert_eq!(both.go.tell(unique)["duplicate"], "key", "the control: Go's lock is held by a task that is not there");

    let ours = |id: &str| {
        let options = JobOptions::new().id(id).queue("q").unique(UniqueBy::until_done("k"));
        job("other").options(options).build(&both.env)
    };
    both.add("other", JobOptions::new().id("c")).await;
    let answers = both.store.enqueue(vec![ours("c")]).await.expect("enqueue");
    assert!(matches!(&answers[0], Enqueued::Duplicate(_, _)), "{answers:?}");
    let answers = both.store.enqueue(vec![ours("d")]).await.expect("enqueue");
    assert!(answers[0].is_new(), "{answers:?}");
}

/// Defect 4: with thousands of archived tasks that are too old, Go's archiving breaks for good.
#[tokio::test]
async fn thousands_that_are_too_old_break_no_burial() {
    let mut both = both!();
    let mut fill = redis::pipe();
    for number in 0..8_500 {
        fill.cmd("ZADD").arg("asynq:{q}:archived").arg(1_000_000_000 + number).arg(format!("old-{number}")).ignore();
        let key = format!("asynq:{{q}}:t:old-{number}");
        fill.cmd("HSET").arg(key).arg("state").arg("archived").arg("msg").arg("\x0a\x01k").ignore();
    }
    fill.exec(&mut both.redis()).expect("entries");
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "a", "kind": "skip", "payload": ""}));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    let in_go = both.until(&"a".parse().expect("an id"), State::Running).await;
    both.go.tell(json!({"do": "stop"}));
    let state: String = redis::cmd("HGET").arg("asynq:{q}:t:a").arg("state").query(&mut both.redis()).expect("a state");
    assert_eq!((in_go.state, state.as_str()), (State::Running, "active"), "the control: Go cannot archive it");

    let id = both.add("mail", JobOptions::new()).await;
    both.store.operate(&id, &Action::Bury).await.expect("bury");
    assert_eq!(both.record(&id).await.state, State::Dead);
    // Go has deleted the tasks and kept their ids; they go in steps.
    let mut count = redis::cmd("ZCARD");
    count.arg("asynq:{q}:archived");
    assert!(count.query::<u32>(&mut both.redis()).expect("a count") > 8_500);
    while both.store.prune(&Prune::Expired, 500).await.expect("prune").more {}
    assert_eq!(count.query::<u32>(&mut both.redis()).expect("a count"), 2, "ours and the one that Go failed on");
    assert_eq!(both.record(&id).await.state, State::Dead);
}

/// Defect 6, ghosts: Go takes an id without a task, and neither runs nor forgets it.
#[tokio::test]
async fn an_id_without_a_task_is_dropped_and_the_next_one_taken() {
    let mut both = both!();
    let mut put = redis::cmd("LPUSH");
    put.arg("asynq:{q}:pending").arg("ghost").exec(&mut both.redis()).expect("a push");
    redis::cmd("SADD").arg("asynq:queues").arg("q").exec(&mut both.redis()).expect("a queue");
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    let ghosts = |both: &Both| {
        let mut count = redis::cmd("LLEN");
        count.arg("asynq:{q}:active").query::<u32>(&mut both.redis()).expect("a length")
    };
    while ghosts(&both) == 0 {
        both.env.sleep(Duration::from_millis(10)).await;
    }
    both.go.tell(json!({"do": "stop"}));
    assert_eq!(ghosts(&both), 1, "the control: it stays with Go");

    // A sweep heals what Go has left, once its lease has run out.
    both.let_gos_lease_lapse("ghost");
    both.sweep().await;
    assert_eq!(ghosts(&both), 0);
    let left: bool = redis::cmd("EXISTS").arg("asynq:{q}:t:ghost").query(&mut both.redis()).expect("an answer");
    assert!(!left);

    put.exec(&mut both.redis()).expect("a push");
    let id = both.add("mail", JobOptions::new()).await;
    assert_eq!(both.claim_one().await.spec.id, id);
    assert_eq!(ghosts(&both), 1, "and the ghost is nowhere");
}

/// Asynq #1144: an active id without a lease, as after a fail-over or a restore, is never recovered by Go.
#[tokio::test]
async fn an_active_job_without_a_lease_is_taken_over() {
    let mut both = both!();
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "a", "kind": "hold", "payload": ""}));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    let id = "a".parse().expect("an id");
    both.until(&id, State::Running).await;
    both.go.tell(json!({"do": "stop"}));
    let mut redis = both.redis();
    redis::cmd("LREM").arg("asynq:{q}:pending").arg(0).arg("a").exec(&mut redis).expect("LREM");
    redis::cmd("LPUSH").arg("asynq:{q}:active").arg("a").exec(&mut redis).expect("LPUSH");
    redis::cmd("HSET").arg("asynq:{q}:t:a").arg("state").arg("active").exec(&mut redis).expect("HSET");
    both.sweep().await;
    let lease: Option<f64> = redis::cmd("ZSCORE").arg("asynq:{q}:lease").arg("a").query(&mut redis).expect("a score");
    assert!(lease.is_some(), "it has a lease that can run out");
    both.let_gos_lease_lapse("a");
    both.sweep().await;
    assert_eq!(both.record(&id).await.state, State::Retrying);
}

/// An id that stands twice in the list is run once.
#[tokio::test]
async fn an_id_that_stands_twice_is_claimed_once() {
    let mut both = both!();
    let id = both.add("mail", JobOptions::new()).await;
    let mut put = redis::cmd("LPUSH");
    put.arg("asynq:{q}:pending").arg(id.to_string()).exec(&mut both.redis()).expect("a push");
    assert_eq!(both.claim().await.len(), 1);
    assert_eq!(both.claim().await.len(), 0);
    assert_eq!(both.store.census().await.expect("census").queues[0].by_state[0], 0);
}
