//! Go's unique lock, which has a time to live, on tasks that Rust ends. Ours is another lock.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::{
    Action, DeadReason, JobOptions, JobState as State, UniqueBy, Verdict,
    store::{Finished, Operate},
};

use crate::{Both, both, sides::id};

const MINUTE: Duration = Duration::from_secs(60);

impl Both {
    /// Go enqueues a task of one kind and payload; its answer.
    fn unique(&mut self, name: &str) -> Value {
        self.go.tell(json!({
            "do": "enqueue", "queue": "q", "id": name, "kind": "mail", "payload": "1", "unique_ms": 600_000,
        }))
    }

    async fn claim_and(&mut self, verdict: Verdict) -> Finished {
        let claimed = self.claim_one().await;
        self.finish(claimed.lease(), verdict).await
    }
}

#[tokio::test]
async fn gos_lock_is_freed_when_rust_completes_the_task() {
    let mut both = both!();
    both.unique("a");
    assert_eq!(both.unique("b")["duplicate"], "key");
    both.claim_and(Verdict::Complete).await;
    assert_eq!(both.unique("b")["state"], "pending");
}

#[tokio::test]
async fn gos_lock_stays_while_the_task_may_run_again() {
    let mut both = both!();
    both.unique("a");
    for verdict in [Verdict::Release, Verdict::RetryIn(Duration::ZERO), Verdict::Snooze(Duration::ZERO)] {
        both.claim_and(verdict).await;
        assert_eq!(both.unique("b")["duplicate"], "key");
        both.store.operate(&id("a"), &Action::RunNow).await.expect("run");
    }
    both.claim_and(Verdict::Complete).await;
    assert_eq!(both.unique("b")["state"], "pending");
}

#[tokio::test]
async fn gos_lock_of_a_dead_task_lives_on_until_its_time_or_its_deletion() {
    let mut both = both!();
    both.unique("a");
    both.claim_and(Verdict::Bury(DeadReason::Buried)).await;
    assert_eq!((both.record(&id("a")).await.state, &both.unique("b")["duplicate"]), (State::Dead, &json!("key")));
    let lock = "asynq:{q}:unique:mail:c4ca4238a0b923820dcc509a6f75849b";
    let left: i64 = redis::cmd("TTL").arg(lock).query(&mut both.redis()).expect("a time");
    assert!((1..=600).contains(&left), "Go's own time to live: {left}");
    both.store.operate(&id("a"), &Action::Delete).await.expect("delete");
    assert_eq!(both.unique("b")["state"], "pending");
}

#[tokio::test]
async fn a_lock_that_another_task_holds_by_now_is_left_to_it() {
    let mut both = both!();
    both.unique("a");
    // Its time is over, and the next task has it.
    redis::cmd("DEL")
        .arg("asynq:{q}:unique:mail:c4ca4238a0b923820dcc509a6f75849b")
        .exec(&mut both.redis())
        .expect("a lock");
    assert_eq!(both.unique("b")["state"], "pending");
    both.claim_two_and_complete_the_first().await;
    assert_eq!(both.unique("c")["duplicate"], "key", "it is b's");
}

impl Both {
    async fn claim_two_and_complete_the_first(&mut self) {
        let claimed = self.claim().await;
        assert_eq!(claimed[0].spec.id, id("a"));
        self.finish(claimed[0].lease(), Verdict::Complete).await;
    }
}

/// The key of a job of ours says who must not be twice; Go's lock is of kind and payload, and neither knows the other.
#[tokio::test]
async fn our_keys_and_gos_locks_do_not_meet() {
    let mut both = both!();
    let ours = || JobOptions::new().unique(UniqueBy::until_done("1")).retention(MINUTE);
    both.add("mail", ours()).await;
    assert_eq!(both.unique("a")["state"], "pending");
    for claimed in both.claim().await {
        both.finish(claimed.lease(), Verdict::Complete).await;
    }
    assert_eq!(both.unique("b")["state"], "pending");
    both.add("mail", ours()).await;
}

/// A Go worker that completes a job of ours frees our key as well, since a key counts only while its job lives.
#[tokio::test]
async fn our_key_is_free_once_go_has_ended_the_job() {
    let mut both = both!();
    for kind in ["ok", "skip"] {
        let ours = || JobOptions::new().unique(UniqueBy::until_done(kind)).retention(MINUTE);
        let first = both.add(kind, ours()).await;
        both.go.tell(json!({"do": "serve", "queue": "q"}));
        let ended = if kind == "ok" { State::Completed } else { State::Dead };
        both.until(&first, ended).await;
        both.go.tell(json!({"do": "stop"}));
        let second = both.add(kind, ours()).await;
        both.store.operate(&second, &Action::Delete).await.expect("delete");
    }
}
