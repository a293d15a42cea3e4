//! Exclusive jobs in a queue that Go uses, too. Go knows no keys: it lets nobody in when it ends a holder, and runs what is
//! told to run. Servers of ours see to both.

use std::time::Duration;

use serde_json::json;
use windlass::{
    JobId, JobOptions, JobState as State, RawJob, Router, Verdict,
    store::{Inspect, PromoteRules, Store},
};

use crate::{Both, both, mixed::serve, sides::id};

impl Both {
    async fn exclusive(&self, kind: &str, name: &str) -> JobId {
        self.add(kind, JobOptions::new().id(name).exclusive("key").retention(Duration::from_secs(60))).await
    }

    /// What each server of ours does every second.
    async fn look_after(&self) {
        self.store.promote(&PromoteRules::all(0)).await.expect("promote");
    }

    /// The same, until a blocked job is let in.
    async fn until_let_in(&self, id: &JobId) {
        for _ in 0..1000 {
            self.look_after().await;
            if self.record(id).await.state != State::Blocked {
                return;
            }
            self.env.sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} stays blocked");
    }

    async fn states(&self, ids: &[&JobId]) -> Vec<State> {
        let mut states = Vec::new();
        for id in ids {
            states.push(self.record(id).await.state);
        }
        states
    }
}

#[tokio::test]
async fn whatever_a_worker_of_gos_makes_of_the_holder_the_next_one_comes_into_line() {
    for (ending, becomes) in [("ok", State::Completed), ("fail", State::Retrying), ("skip", State::Dead)] {
        let mut both = both!();
        let holder = both.exclusive("hold", "holder").await;
        let next = both.exclusive("hold", "next").await;
        both.go.tell(json!({"do": "serve", "queue": "q", "retry_ms": 3_600_000}));
        both.go.tell(json!({"do": "await", "id": "holder", "times": 1}));
        both.look_after().await;
        assert_eq!(both.states(&[&holder, &next]).await, [State::Running, State::Blocked], "{ending}");
        both.go.tell(json!({"do": "let_go", "id": "holder", "state": ending}));
        both.until(&holder, becomes).await;
        both.until_let_in(&next).await;
        both.go.tell(json!({"do": "await", "id": "next", "times": 1}));
        both.go.tell(json!({"do": "let_go", "id": "next", "state": "ok"}));
        both.until(&next, State::Completed).await;
        both.go.tell(json!({"do": "stop"}));
    }
}

#[tokio::test]
async fn a_holder_that_gos_inspector_archives_or_deletes_lets_the_next_one_in() {
    for action in ["archive", "delete"] {
        let mut both = both!();
        both.exclusive("mail", "holder").await;
        let next = both.exclusive("mail", "next").await;
        both.go.tell(json!({"do": action, "queue": "q", "id": "holder"}));
        both.look_after().await;
        assert_eq!(both.states(&[&next]).await, [State::Pending], "{action}");
        assert_eq!(both.claim_one().await.spec.id, next);
    }
}

#[tokio::test]
async fn gos_inspector_archives_and_deletes_a_blocked_job_and_nothing_is_left_of_it() {
    let mut both = both!();
    both.exclusive("mail", "holder").await;
    let archived = both.exclusive("mail", "archived").await;
    both.exclusive("mail", "deleted").await;
    let last = both.exclusive("mail", "last").await;
    let counts = both.go.queue();
    assert_eq!((&counts["pending"], &counts["scheduled"]), (&json!(1), &json!(0)), "Go does not count them: {counts}");
    let shown = both.go.ask(json!({"do": "task", "queue": "q", "id": "last"}));
    assert!(shown["error"].as_str().is_some_and(|words| words.contains("not supported task state")), "{shown}");
    both.go.tell(json!({"do": "archive", "queue": "q", "id": "archived"}));
    both.go.tell(json!({"do": "delete", "queue": "q", "id": "deleted"}));
    assert_eq!(both.states(&[&archived, &last]).await, [State::Dead, State::Blocked]);
    assert!(both.store.get(&id("deleted")).await.expect("get").is_none());
    let census = both.store.census().await.expect("census");
    assert_eq!(census.queues[0].by_state[State::Blocked.code() as usize], 1);
    let run = both.claim_one().await;
    both.finish(run.lease(), Verdict::Complete).await;
    let run = both.claim_one().await;
    assert_eq!(run.spec.id, last);
    both.finish(run.lease(), Verdict::Complete).await;
    assert_eq!(both.names("*x:blocked").len() + both.names("*x:row*").len() + both.names("*x:slots").len(), 0);
}

/// Go itself would run it; a server of ours blocks it again.
#[tokio::test]
async fn a_blocked_job_that_gos_inspector_runs_is_not_claimed_beside_the_holder() {
    let mut both = both!();
    let holder = both.exclusive("mail", "holder").await;
    let told = both.exclusive("mail", "told").await;
    let run = both.claim_one().await;
    both.go.tell(json!({"do": "run", "queue": "q", "id": "told"}));
    assert_eq!(both.states(&[&holder, &told]).await, [State::Running, State::Pending]);
    assert!(both.claim().await.is_empty(), "two of a key at once");
    assert_eq!(both.states(&[&told]).await, [State::Blocked]);
    both.finish(run.lease(), Verdict::Complete).await;
    assert_eq!(both.claim_one().await.spec.id, told);
}

/// Go's forwarder puts a retry back into line while another holds its key.
#[tokio::test]
async fn a_retry_that_gos_forwarder_brings_back_is_not_claimed_beside_the_holder() {
    let mut both = both!();
    let first = both.exclusive("hold", "first").await;
    let second = both.exclusive("ours", "second").await;
    both.go.tell(json!({"do": "serve", "queue": "q", "retry_ms": 1_000}));
    both.go.tell(json!({"do": "await", "id": "first", "times": 1}));
    both.go.tell(json!({"do": "pause", "queue": "q"}));
    both.go.tell(json!({"do": "let_go", "id": "first", "state": "fail"}));
    both.until(&first, State::Retrying).await;
    both.look_after().await;
    // Its forwarder goes on while the queue is paused.
    both.until(&first, State::Pending).await;
    both.go.tell(json!({"do": "stop"}));
    both.go.tell(json!({"do": "unpause", "queue": "q"}));
    let run = both.claim_one().await;
    assert_eq!((run.spec.id.clone(), both.states(&[&first]).await), (second, vec![State::Blocked]));
    both.finish(run.lease(), Verdict::Complete).await;
    assert_eq!(both.claim_one().await.spec.id, first);
}

/// Nobody calls by hand here: a server does what is to be done, though it has nothing to do itself.
#[tokio::test]
async fn an_idle_server_of_ours_lets_the_next_one_in_soon_after_go_has_ended_the_holder() {
    let mut both = both!();
    let holder = both.exclusive("hold", "holder").await;
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.go.tell(json!({"do": "await", "id": "holder", "times": 1}));
    let next = both.exclusive("ours", "next").await;
    // Of Go only this worker is busy; the kind would be its own, too.
    both.go.tell(json!({"do": "pause", "queue": "q"}));
    let router = Router::new().at("ours", |_: RawJob| async { Ok::<_, windlass::JobError>(()) });
    let server = serve(&both, router).await;
    both.env.sleep(Duration::from_secs(3)).await;
    assert_eq!(both.states(&[&holder, &next]).await, [State::Running, State::Blocked]);
    both.go.tell(json!({"do": "let_go", "id": "holder", "state": "ok"}));
    both.until(&holder, State::Completed).await;
    let began = both.env.monotonic();
    both.until(&next, State::Pending).await;
    let took = both.env.monotonic().since(began);
    assert!(took < Duration::from_secs(3), "{took:?}");
    both.go.tell(json!({"do": "stop"}));
    both.go.tell(json!({"do": "unpause", "queue": "q"}));
    both.until(&next, State::Completed).await;
    server.shutdown().await;
}
