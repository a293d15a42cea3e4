//! Jobs that are cancelled, buried or removed while they stand in a list that is too long to be searched: they are
//! marked, and dropped by whoever comes to them, Go included, without being run.

use std::time::Duration;

use serde_json::json;
use windlass::{
    Action, JobFilter, JobId, JobOptions, JobState as State, UniqueBy, Verdict,
    store::{Enqueued, Finished, Inspect, Operate, Operated, Prune, Pruned, Store},
    testing::job,
};

use crate::{Both, both};

/// More than a list may hold to be searched.
const LONG: usize = 10_001;

fn cancel() -> Action {
    Action::Cancel { reason: "unwanted".into() }
}

impl Both {
    /// So many pending tasks of Go's, to run before all that follow.
    pub(crate) fn fill_pending(&self, count: usize) {
        let mut fill = redis::pipe();
        fill.cmd("SADD").arg("asynq:queues").arg("q").ignore();
        for number in 0..count {
            let id = format!("fill-{number}");
            let message = [b"\x0a\x01k\x1a", &[id.len() as u8][..], id.as_bytes(), b"\x22\x01q"].concat();
            let key = format!("asynq:{{q}}:t:{id}");
            let since = "1700000000000000000";
            fill.cmd("HSET").arg(key).arg("state").arg("pending").arg("pending_since").arg(since).ignore();
            fill.cmd("HSET").arg(format!("asynq:{{q}}:t:{id}")).arg("msg").arg(message).ignore();
            fill.cmd("LPUSH").arg("asynq:{q}:pending").arg(&id).ignore();
        }
        fill.exec(&mut self.redis()).expect("entries");
    }

    /// Only the newest so many still stand in the list.
    fn keep_newest(&self, count: isize) {
        redis::cmd("LTRIM").arg("asynq:{q}:pending").arg(0).arg(count - 1).exec(&mut self.redis()).expect("LTRIM");
    }

    fn stands_in_line(&self, id: &JobId) -> bool {
        let mut find = redis::cmd("LPOS");
        let place: Option<u64> =
            find.arg("asynq:{q}:pending").arg(id.to_string()).query(&mut self.redis()).expect("a place");
        place.is_some()
    }

    fn exists(&self, id: &JobId) -> bool {
        redis::cmd("EXISTS").arg(format!("asynq:{{q}}:t:{id}")).query(&mut self.redis()).expect("an answer")
    }

    async fn is_gone(&self, id: &JobId) -> bool {
        self.store.get(id).await.expect("get").is_none()
    }

    async fn counted(&self, state: State) -> u64 {
        self.store.census().await.expect("census").queues[0].by_state[state.code() as usize]
    }

    async fn act(&self, id: &JobId, action: Action) -> Operated {
        self.store.operate(id, &action).await.expect("operate")
    }

    /// Waits until nothing is pending or active for Go any more.
    async fn until_go_is_idle(&mut self) {
        for _ in 0..1000 {
            let queue = self.go.queue();
            if queue["pending"] == 0 && queue["active"] == 0 {
                return;
            }
            self.env.sleep(Duration::from_millis(10)).await;
        }
        panic!("Go does not come to an end: {}", self.go.queue());
    }
}

#[tokio::test]
async fn a_job_cancelled_in_a_long_list_is_cancelled_for_us_at_once() {
    let mut both = both!();
    both.fill_pending(LONG);
    let deadline = both.env.wall().after(Duration::from_secs(3600));
    let unique = || UniqueBy::until_done("x");
    let id = both.add("mail", JobOptions::new().max_retry(7).deadline(deadline).unique(unique())).await;
    assert_eq!(both.act(&id, cancel()).await, Operated::Done(State::Cancelled));
    assert!(both.stands_in_line(&id), "the list was not searched");

    let record = both.record(&id).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Cancelled, Some("unwanted")));
    assert_eq!((record.spec.max_retry, record.spec.deadline), (7, Some(deadline)));
    assert_eq!((both.counted(State::Pending).await, both.counted(State::Cancelled).await), (LONG as u64, 1));
    let mut cancelled = JobFilter::default();
    cancelled.states = vec![State::Cancelled];
    let listed = both.store.list(&cancelled, None, 10).await.expect("list").items;
    assert_eq!(listed.iter().map(|job| &job.spec.id).collect::<Vec<_>>(), [&id]);
    let again = both.act(&id, cancel()).await;
    assert_eq!(again, Operated::Conflict { state: State::Cancelled, holder: None });
    let next = job("mail").options(JobOptions::new().queue("q").unique(unique())).build(&both.env);
    assert!(both.store.enqueue(vec![next]).await.expect("enqueue")[0].is_new(), "its key is free");
    // To Go it is pending, and over before it begins.
    let task = both.go.task(&id.to_string());
    assert_eq!(
        (&task["state"], &task["max_retry"], &task["deadline_ms"]),
        (&json!("pending"), &json!(0), &json!(1000))
    );
}

#[tokio::test]
async fn go_drops_a_marked_job_without_running_it_and_it_can_be_redriven() {
    let mut both = both!();
    both.fill_pending(LONG);
    let id = both.add("mail", JobOptions::new().max_retry(7).retention(Duration::from_secs(60))).await;
    both.act(&id, cancel()).await;
    both.keep_newest(1);
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.until_go_is_idle().await;
    both.go.tell(json!({"do": "stop"}));
    assert_eq!(both.go.tell(json!({"do": "ran"}))["ran"], json!([]), "no handler was called");
    assert_eq!(both.go.task(&id.to_string())["last_error"], "context deadline exceeded");
    assert_eq!(both.record(&id).await.state, State::Cancelled);

    both.sweep().await;
    let task = both.go.task(&id.to_string());
    let shown = (&task["state"], &task["max_retry"], &task["last_error"], &task["deadline_ms"]);
    assert_eq!(shown, (&json!("archived"), &json!(7), &json!("unwanted"), &json!(0)));
    let record = both.record(&id).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Cancelled, Some("unwanted")));
    assert_eq!((both.counted(State::Cancelled).await, both.counted(State::Dead).await), (1, 0));

    assert_eq!(both.act(&id, Action::Redrive).await, Operated::Done(State::Pending));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    assert_eq!(both.until(&id, State::Completed).await.result.as_deref(), Some(&b"done by go"[..]));
}

#[tokio::test]
async fn our_claim_drops_a_marked_job_and_goes_on_behind_it() {
    let mut both = both!();
    both.fill_pending(LONG);
    let mut marked = Vec::new();
    for _ in 0..30 {
        marked.push(both.add("mail", JobOptions::new().max_retry(7)).await);
        both.act(marked.last().expect("one"), cancel()).await;
    }
    let live = both.add("mail", JobOptions::new()).await;
    both.keep_newest(31);
    assert_eq!(both.claim_one().await.spec.id, live);
    assert_eq!((both.counted(State::Pending).await, both.counted(State::Cancelled).await), (0, 30));
    for id in &marked {
        let task = both.go.task(&id.to_string());
        let shown = (&task["state"], &task["max_retry"], &task["last_error"]);
        assert_eq!(shown, (&json!("archived"), &json!(7), &json!("unwanted")));
    }
    assert_eq!(both.act(&marked[3], Action::Redrive).await, Operated::Done(State::Pending));
    assert_eq!(both.claim_one().await.spec.id, marked[3]);
}

#[tokio::test]
async fn a_marked_job_that_is_redriven_stands_where_it_stood() {
    let mut both = both!();
    both.fill_pending(LONG);
    let first = both.add("mail", JobOptions::new().max_retry(7)).await;
    let second = both.add("mail", JobOptions::new()).await;
    both.act(&first, Action::Bury).await;
    let record = both.record(&first).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Dead, Some("buried")));
    assert_eq!(both.act(&first, Action::Redrive).await, Operated::Done(State::Pending));
    assert_eq!((both.counted(State::Pending).await, both.counted(State::Dead).await), (LONG as u64 + 2, 0));
    assert_eq!(both.go.task(&first.to_string())["max_retry"], 7);
    both.keep_newest(2);
    let claimed: Vec<_> = both.claim().await.into_iter().map(|job| job.spec.id.clone()).collect();
    assert_eq!(claimed, [first, second]);
}

#[tokio::test]
async fn a_marked_job_whose_key_is_held_is_not_redriven() {
    let both = both!();
    both.fill_pending(LONG);
    let unique = || JobOptions::new().queue("q").unique(UniqueBy::until_done("x"));
    let id = both.add("mail", unique()).await;
    both.act(&id, cancel()).await;
    let holder = both.add("mail", unique()).await;
    let refused = Operated::Conflict { state: State::Cancelled, holder: Some(holder) };
    assert_eq!(both.act(&id, Action::Redrive).await, refused);
    assert_eq!(both.record(&id).await.state, State::Cancelled);
}

#[tokio::test]
async fn a_job_removed_in_a_long_list_is_gone_and_its_id_free() {
    let mut both = both!();
    both.fill_pending(LONG);
    let named = || JobOptions::new().id("a");
    let id = both.add("mail", named()).await;
    assert_eq!(both.act(&id, Action::Delete).await, Operated::Removed);
    assert!(both.stands_in_line(&id), "the list was not searched");
    assert!(both.is_gone(&id).await);
    assert_eq!(both.act(&id, Action::Delete).await, Operated::NotFound);
    assert_eq!(both.counted(State::Pending).await, LONG as u64);

    // It comes again, and runs once.
    both.add("mail", named().retention(Duration::from_secs(60))).await;
    both.keep_newest(2);
    let claimed = both.claim().await;
    assert_eq!(claimed.iter().filter(|job| job.spec.id == id).count(), 1);
    for job in &claimed {
        assert_eq!(both.finish(job.lease(), Verdict::Complete).await, Finished::Applied(State::Completed));
    }

    // Go comes to a removed one: it archives it, and the next sweep takes it away.
    both.fill_pending(LONG);
    let other = both.add("mail", JobOptions::new()).await;
    both.act(&other, Action::Delete).await;
    both.keep_newest(1);
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.until_go_is_idle().await;
    assert_eq!(both.go.tell(json!({"do": "ran"}))["ran"], json!([]));
    assert!(both.exists(&other));
    both.sweep().await;
    assert!(!both.exists(&other));
    assert_eq!((both.go.queue()["archived"].as_u64(), both.counted(State::Dead).await), (Some(0), 0));
}

#[tokio::test]
async fn gos_lock_of_a_cancelled_job_is_free() {
    let mut both = both!();
    let unique = |name: &str| json!({"do": "enqueue", "queue": "q", "id": name, "kind": "once", "payload": "", "unique_ms": 600_000});
    for long in [false, true] {
        if long {
            both.fill_pending(LONG);
        }
        let (first, second) = (format!("first-{long}"), format!("second-{long}"));
        both.go.tell(unique(&first));
        assert_eq!(both.go.ask(unique(&second))["duplicate"], "key");
        both.act(&first.parse().expect("an id"), cancel()).await;
        assert_eq!(both.go.tell(unique(&second))["id"], second.as_str());
        both.act(&second.parse().expect("an id"), Action::Delete).await;
    }
}

#[tokio::test]
async fn gos_inspector_may_archive_run_and_delete_marked_jobs() {
    let mut both = both!();
    both.fill_pending(LONG);
    let mut marked = Vec::new();
    for _ in 0..3 {
        marked.push(both.add("mail", JobOptions::new().max_retry(7)).await);
        both.act(marked.last().expect("one"), cancel()).await;
    }
    let go = |what: &str, id: &JobId| json!({"do": what, "queue": "q", "id": id.to_string()});
    // Archived, and run again before a sweep came by: it still is what we made of it.
    both.go.tell(go("archive", &marked[0]));
    assert_eq!(both.record(&marked[0]).await.state, State::Cancelled);
    both.go.tell(go("run", &marked[0]));
    assert_eq!(both.record(&marked[0]).await.state, State::Cancelled);
    // After a sweep Go's wish counts.
    both.go.tell(go("archive", &marked[1]));
    both.sweep().await;
    assert_eq!(both.record(&marked[1]).await.state, State::Cancelled);
    both.go.tell(go("run", &marked[1]));
    let record = both.record(&marked[1]).await;
    assert_eq!((record.state, record.spec.max_retry), (State::Pending, 7));
    both.go.tell(go("delete", &marked[2]));
    assert!(both.is_gone(&marked[2]).await);
}

/// Between Go's pop and its report the job is Go's for a moment.
#[tokio::test]
async fn a_marked_job_that_go_holds_can_be_redriven_and_removed() {
    let mut both = both!();
    both.fill_pending(LONG);
    let redriven = both.add("mail", JobOptions::new().max_retry(7)).await;
    let removed = both.add("mail", JobOptions::new()).await;
    let lost = both.add("mail", JobOptions::new().max_retry(7)).await;
    let mut redis = both.redis();
    for id in [&redriven, &removed, &lost] {
        both.act(id, cancel()).await;
    }
    both.keep_newest(3);
    for id in [&redriven, &removed, &lost] {
        // What Go's server does when it takes a task.
        redis::cmd("RPOPLPUSH").arg("asynq:{q}:pending").arg("asynq:{q}:active").exec(&mut redis).expect("a pop");
        let key = format!("asynq:{{q}}:t:{id}");
        redis::cmd("HSET").arg(&key).arg("state").arg("active").exec(&mut redis).expect("HSET");
        redis::cmd("HDEL").arg(&key).arg("pending_since").exec(&mut redis).expect("HDEL");
        let until = both.env.wall().as_micros() / 1_000_000 + 30;
        redis::cmd("ZADD").arg("asynq:{q}:lease").arg(until).arg(id.to_string()).exec(&mut redis).expect("ZADD");
    }
    assert_eq!(both.record(&redriven).await.state, State::Cancelled);
    assert_eq!(both.act(&redriven, Action::Redrive).await, Operated::Done(State::Pending));
    assert_eq!(both.act(&removed, Action::Delete).await, Operated::Removed);
    // Go's server died.
    both.let_gos_lease_lapse(&lost.to_string());
    both.sweep().await;
    assert_eq!(both.record(&lost).await.state, State::Cancelled);
    assert_eq!(both.go.task(&lost.to_string())["max_retry"], 7);
    assert_eq!(both.go.queue()["active"], 0);
    assert_eq!((both.exists(&removed), both.claim_one().await.spec.id.clone()), (false, redriven));
}

#[tokio::test]
async fn marked_jobs_are_pruned() {
    let both = both!();
    both.fill_pending(LONG);
    let id = both.add("mail", JobOptions::new().id("a")).await;
    both.act(&id, cancel()).await;
    let all = Prune::Older { than: Duration::ZERO, states: vec![State::Cancelled] };
    let pruned = both.store.prune(&all, 500).await.expect("prune");
    assert_eq!(pruned, Pruned { removed: 1, more: false });
    assert_eq!((both.is_gone(&id).await, both.counted(State::Cancelled).await), (true, 0));
    let again = job("mail").options(JobOptions::new().id("a").queue("q")).build(&both.env);
    assert_eq!(both.store.enqueue(vec![again]).await.expect("enqueue"), [Enqueued::New(id)]);
}
