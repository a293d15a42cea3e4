//! More dead jobs than Asynq keeps. They move to `x:dead`, where Asynq trims nothing and Go still runs, deletes and
//! archives them. Each control shows on Go alone what would be lost.

use serde_json::json;
use windlass::{
    Action, JobFilter, JobId, JobOptions, JobRecord, JobState as State,
    store::{Inspect, Operate, Operated, Prune, Pruned},
};

use crate::{Both, both};

/// What stays in Asynq's own set.
const SHOWN: usize = 9_000;
const DAY: i64 = 86_400;

impl Both {
    /// So many archived tasks of Go's, the first of them at this second, each a second later.
    pub(crate) fn fill_archived(&self, count: usize, from: i64) {
        let mut fill = redis::pipe();
        fill.cmd("SADD").arg("asynq:queues").arg("q").ignore();
        for number in 0..count {
            let id = format!("dead-{number}");
            let message = [b"\x0a\x01k\x1a", &[id.len() as u8][..], id.as_bytes(), b"\x22\x01q"].concat();
            fill.cmd("ZADD").arg("asynq:{q}:archived").arg(from + number as i64).arg(&id).ignore();
            let key = format!("asynq:{{q}}:t:{id}");
            fill.cmd("HSET").arg(key).arg("state").arg("archived").arg("msg").arg(message).ignore();
        }
        fill.exec(&mut self.redis()).expect("entries");
    }

    pub(crate) fn size(&self, name: &str) -> usize {
        redis::cmd("ZCARD").arg(format!("asynq:{{q}}:{name}")).query(&mut self.redis()).expect("a size")
    }

    pub(crate) fn now(&self) -> i64 {
        self.env.wall().as_micros() / 1_000_000
    }

    pub(crate) async fn dead(&self) -> u64 {
        self.store.census().await.expect("census").queues[0].by_state[State::Dead.code() as usize]
    }

    /// Lets Go archive so many tasks, as when they fail for good.
    fn go_archives(&mut self, count: usize) {
        for number in 0..count {
            let id = format!("more-{number}");
            self.go.tell(json!({"do": "enqueue", "queue": "q", "id": &id, "kind": "k", "payload": ""}));
            self.go.tell(json!({"do": "archive", "queue": "q", "id": &id}));
        }
    }

    /// A dead job of ours, and one of ours that was cancelled, both older than all that follow, in `x:dead`.
    async fn ours_beyond_the_archive(&self) -> (JobId, JobId) {
        let buried = self.add("mail", JobOptions::new().unique(windlass::UniqueBy::until_done(&7))).await;
        let cancelled = self.add("note", JobOptions::new()).await;
        self.store.operate(&buried, &Action::Bury).await.expect("bury");
        self.store.operate(&cancelled, &Action::Cancel { reason: "unwanted".into() }).await.expect("cancel");
        self.fill_archived(SHOWN, self.now() + 10);
        self.sweep().await;
        assert_eq!((self.size("archived"), self.size("x:dead")), (SHOWN, 2));
        (buried, cancelled)
    }
}

fn record_second(job: &JobRecord) -> i64 {
    job.completed_at.expect("it has ended").as_micros() / 1_000_000
}

fn id(text: &str) -> JobId {
    text.parse().expect("an id")
}

#[tokio::test]
async fn dead_jobs_beyond_asynqs_limit_outlive_its_trim() {
    // The control: Go deletes what is over its own limit.
    let mut both = both!();
    both.fill_archived(11_000, both.now() - 20_000);
    both.go_archives(1);
    assert!(both.size("archived") < 10_000);

    let mut both = both!();
    both.fill_archived(11_000, both.now() - 20_000);
    both.sweep().await;
    assert_eq!((both.size("archived"), both.size("x:dead")), (SHOWN, 2_000));
    both.go_archives(500);
    assert_eq!((both.size("archived"), both.dead().await), (SHOWN + 500, 11_500));
    both.sweep().await;
    assert_eq!((both.size("archived"), both.dead().await), (SHOWN, 11_500));
    assert_eq!(both.go.queue()["archived"], SHOWN);
    let page = both.go.tell(json!({"do": "list", "queue": "q", "state": "archived"}));
    assert_eq!(page["tasks"][0]["id"], "dead-2500", "the oldest has moved, the next one is shown first");
    for name in ["dead-0", "dead-2499", "dead-2500", "more-499"] {
        assert_eq!(both.record(&id(name)).await.state, State::Dead, "{name}");
    }
}

#[tokio::test]
async fn dead_jobs_beyond_asynqs_age_outlive_its_trim() {
    let mut both = both!();
    let old = both.now() - 91 * DAY;
    both.fill_archived(3, old);
    both.go_archives(1);
    assert_eq!(both.size("archived"), 1, "the control: Go lets those of ninety days go");

    let mut both = both!();
    both.fill_archived(3, both.now() - 81 * DAY);
    both.sweep().await;
    assert_eq!((both.size("archived"), both.size("x:dead")), (0, 3));
    both.go_archives(1);
    assert_eq!(both.dead().await, 4);
    // Our own retention is ninety days.
    assert_eq!(both.store.prune(&Prune::Expired, 500).await.expect("prune"), Pruned { removed: 0, more: false });
    both.fill_archived(3, old);
    both.sweep().await;
    assert_eq!(both.store.prune(&Prune::Expired, 500).await.expect("prune"), Pruned { removed: 3, more: false });
    assert_eq!((both.size("x:dead"), both.dead().await), (0, 1));
}

#[tokio::test]
async fn go_runs_deletes_and_archives_what_has_moved() {
    let mut both = both!();
    let (buried, cancelled) = both.ours_beyond_the_archive().await;
    assert_eq!(both.record(&buried).await.state, State::Dead);
    let record = both.record(&cancelled).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Cancelled, Some("unwanted")));
    let refused = both.go.ask(json!({"do": "task", "queue": "q", "id": buried.to_string()}));
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("not supported")), "{refused}");

    // Run: it is pending for both, and nothing of its end is left.
    both.go.tell(json!({"do": "run", "queue": "q", "id": buried.to_string()}));
    let record = both.record(&buried).await;
    assert_eq!((record.state, record.reason, record.completed_at), (State::Pending, None, None));
    assert_eq!(both.go.task(&buried.to_string())["state"], "pending");
    let claimed = both.claim_one().await;
    assert_eq!(claimed.spec.id, buried);
    both.finish(claimed.lease(), windlass::Verdict::Bury(windlass::DeadReason::Buried)).await;

    // Archive: back in Asynq's own set, dead, and no longer cancelled by us. Its ends are told apart by the second.
    let cancelled_at = record_second(&both.record(&cancelled).await);
    while both.now() == cancelled_at {
        both.env.sleep(std::time::Duration::from_millis(20)).await;
    }
    both.go.tell(json!({"do": "archive", "queue": "q", "id": cancelled.to_string()}));
    let record = both.record(&cancelled).await;
    assert_eq!((record.state, record.reason), (State::Dead, None));
    assert_eq!(both.go.task(&cancelled.to_string())["state"], "archived");

    // Delete.
    both.go.tell(json!({"do": "delete", "queue": "q", "id": cancelled.to_string()}));
    assert!(both.store.get(&cancelled).await.expect("get").is_none());
    both.prune().await;
    assert_eq!(both.dead().await, SHOWN as u64 + 1);
}

#[tokio::test]
async fn go_deletes_what_has_moved_with_its_lock() {
    let mut both = both!();
    let unique = |name: &str| {
        json!({
            "do": "enqueue", "queue": "q", "id": name, "kind": "once", "payload": "", "unique_ms": 600_000,
        })
    };
    both.go.tell(unique("first"));
    both.go.tell(json!({"do": "archive", "queue": "q", "id": "first"}));
    both.fill_archived(SHOWN, both.now() + 10);
    both.sweep().await;
    assert_eq!(both.size("x:dead"), 1);
    assert_eq!(both.go.ask(unique("second"))["duplicate"], "key");
    both.go.tell(json!({"do": "delete", "queue": "q", "id": "first"}));
    assert_eq!(both.go.tell(unique("second"))["id"], "second");
}

#[tokio::test]
async fn what_has_moved_is_listed_redriven_and_deleted_by_us() {
    let mut both = both!();
    let (buried, cancelled) = both.ours_beyond_the_archive().await;
    let mut ours = JobFilter::default();
    ours.states = vec![State::Dead, State::Cancelled];
    let page = both.store.list(&ours, None, 2).await.expect("list");
    let found: Vec<_> = page.items.iter().map(|job| (job.spec.id.clone(), job.state)).collect();
    assert_eq!(found, [(buried.clone(), State::Dead), (cancelled.clone(), State::Cancelled)]);
    let redriven = both.store.operate(&buried, &Action::Redrive).await.expect("redrive");
    assert_eq!(redriven, Operated::Done(State::Pending));
    assert_eq!(both.go.task(&buried.to_string())["state"], "pending");
    assert_eq!(both.claim_one().await.spec.id, buried);
    assert_eq!(both.store.operate(&cancelled, &Action::Delete).await.expect("delete"), Operated::Removed);
    assert_eq!(both.size("x:dead"), 0);
    let left = redis::cmd("EXISTS").arg(format!("asynq:{{q}}:t:{cancelled}")).query::<bool>(&mut both.redis());
    assert!(!left.expect("an answer"));
}

/// Asynq's own archiving stops half-way when thousands are too old at once: the task stands among the archived, called
/// active (see `defects.rs`).
#[tokio::test]
async fn a_task_that_asynq_archived_half_way_moves_too() {
    let both = both!();
    both.fill_archived(1, both.now() - 81 * DAY);
    let mut damage = redis::cmd("HSET");
    damage.arg("asynq:{q}:t:dead-0").arg("state").arg("active").exec(&mut both.redis()).expect("HSET");
    both.sweep().await;
    assert_eq!(both.record(&id("dead-0")).await.state, State::Dead);
    assert_eq!(
        both.store.operate(&id("dead-0"), &Action::Redrive).await.expect("redrive"),
        Operated::Done(State::Pending)
    );
}
