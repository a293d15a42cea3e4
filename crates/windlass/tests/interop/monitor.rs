//! Asynq's web UI over our jobs: its JSON API lists our queues, jobs in every state, groups and servers without an error,
//! and its buttons do to our jobs what they say.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::{
    Action, JobId, JobOptions, JobState as State, Verdict,
    store::{Cluster, Operate, ServerInfo},
};

use crate::{Both, both, queue, sides::Driver};

const HOUR: Duration = Duration::from_secs(3600);

impl Driver {
    /// Asks, and gets an answer that is no error.
    fn get(&mut self, path: &str) -> Value {
        self.ok(&format!("GET /api/{path}"))
    }

    fn ok(&mut self, line: &str) -> Value {
        let answer = self.line(line);
        let status = answer["status"].as_u64().expect("a status");
        assert!((200..300).contains(&status), "{line}: {answer}");
        answer["body"].clone()
    }

    /// The ids of one of its lists of tasks.
    fn ids(&mut self, list: &str) -> Vec<String> {
        let body = self.get(list);
        let tasks = body["tasks"].as_array().unwrap_or_else(|| panic!("{list}: {body}"));
        tasks.iter().map(|task| task["id"].as_str().expect("an id").to_owned()).collect()
    }
}

/// A job in each state, by Asynq's name of it.
async fn one_of_each(both: &mut Both) -> Vec<(&'static str, JobId)> {
    let mut jobs = Vec::new();
    for (state, verdict) in
        [("retry", Verdict::RetryIn(HOUR)), ("completed", Verdict::Complete), ("scheduled", Verdict::Snooze(HOUR))]
    {
        let id = both.add("mail", JobOptions::new().retention(HOUR)).await;
        let claimed = both.claim_one().await;
        both.finish(claimed.lease(), verdict).await;
        jobs.push((state, id));
    }
    jobs.push(("active", both.add("mail", JobOptions::new()).await));
    both.claim_one().await;
    for action in [Action::Bury, Action::Cancel { reason: "no longer wanted".into() }] {
        let id = both.add("mail", JobOptions::new()).await;
        both.store.operate(&id, &action).await.expect("an operation");
        jobs.push(("archived", id));
    }
    jobs.push(("pending", both.add("mail", JobOptions::new().tag("x").header("k", "v")).await));
    jobs.push(("scheduled", both.add("mail", JobOptions::new().process_in(HOUR)).await));
    jobs.push(("aggregating", both.add("mail", JobOptions::new().group("g")).await));
    jobs
}

#[tokio::test]
async fn asynqs_web_ui_shows_our_jobs_in_every_state() {
    let mut both = both!();
    let Some(mut monitor) = Driver::monitor(&both.url) else { return };
    let jobs = one_of_each(&mut both).await;
    // Go does not see a job with a priority, and nothing breaks on it.
    both.add("mail", JobOptions::new().priority(1)).await;

    let queues = monitor.get("queues");
    let shown = &queues["queues"][0];
    let expected = json!({
        "queue": "q", "size": 9, "groups": 1, "active": 1, "pending": 1, "aggregating": 1, "scheduled": 2, "retry": 1,
        "archived": 2, "completed": 1, "processed": 2, "failed": 1, "paused": false,
    });
    for (name, value) in expected.as_object().expect("a map") {
        assert_eq!(&shown[name], value, "{name}: {shown}");
    }
    for (state, id) in &jobs {
        let list = match *state {
            "aggregating" => "queues/q/groups/g/aggregating_tasks".to_owned(),
            state => format!("queues/q/{state}_tasks"),
        };
        let ids = monitor.ids(&list);
        assert!(ids.contains(&id.to_string()), "{list}: {ids:?}");
        assert_eq!(ids.len(), jobs.iter().filter(|(other, _)| other == state).count(), "{list}: {ids:?}");
        let task = monitor.get(&format!("queues/q/tasks/{id}"));
        assert_eq!((&task["state"], &task["type"]), (&json!(state), &json!("mail")), "{task}");
    }
    let completed = monitor.get("queues/q/completed_tasks");
    assert_eq!(completed["tasks"][0]["result"], "done by rust");
    assert_eq!(monitor.get("queues/q/groups")["groups"][0], json!({"group": "g", "size": 1}));
    for page in ["queues/q", "queue_stats", "redis_info", "scheduler_entries"] {
        monitor.get(page);
    }
}

#[tokio::test]
async fn asynqs_web_ui_shows_our_servers_and_what_they_run() {
    let mut both = both!();
    let Some(mut monitor) = Driver::monitor(&both.url) else { return };
    let mut info = ServerInfo::new(both.server, both.env.wall());
    (info.host, info.pid, info.slots, info.queues) = ("host-1".into(), 4711, 10, vec![(queue(), 3)]);
    both.store.beat(&info).await.expect("beat");
    let servers = monitor.get("servers");
    let shown = &servers["servers"][0];
    assert_eq!(
        (&shown["host"], &shown["pid"], &shown["status"], &shown["queue_priorities"]),
        (&json!("host-1"), &json!(4711), &json!("active"), &json!({"q": 3}))
    );
    assert_eq!((&shown["concurrency"], &shown["active_workers"]), (&json!(10), &json!([])));

    let id = both.add("mail", JobOptions::new().timeout(HOUR)).await;
    let claimed = both.claim_one().await;
    info.busy = 1;
    both.store.beat(&info).await.expect("beat");
    let servers = monitor.get("servers");
    let run = &servers["servers"][0]["active_workers"][0];
    assert_eq!(
        (&run["task_id"], &run["task_type"], &run["queue"]),
        (&json!(id.to_string()), &json!("mail"), &json!("q"))
    );
    let active = monitor.get("queues/q/active_tasks");
    let task = &active["tasks"][0];
    assert!(task["start_time"].as_str().is_some_and(|start| start.starts_with("20")), "{task}");
    assert!(task["deadline"].as_str().is_some_and(|end| end > task["start_time"].as_str().unwrap()), "{task}");

    both.finish(claimed.lease(), Verdict::Complete).await;
    info.busy = 0;
    both.store.beat(&info).await.expect("beat");
    assert_eq!(monitor.get("servers")["servers"][0]["active_workers"], json!([]));
    both.store.leave(both.server).await.expect("leave");
    assert_eq!(monitor.get("servers")["servers"], json!([]));
}

#[tokio::test]
async fn the_buttons_of_asynqs_web_ui_work_on_our_jobs() {
    let mut both = both!();
    let Some(mut monitor) = Driver::monitor(&both.url) else { return };
    let later = both.add("mail", JobOptions::new().process_in(HOUR)).await;
    let now = both.add("mail", JobOptions::new()).await;
    monitor.ok("POST /api/queues/q:pause");
    assert!(both.claim().await.is_empty());
    monitor.ok("POST /api/queues/q:resume");
    monitor.ok(&format!("POST /api/queues/q/scheduled_tasks/{later}:run"));
    assert_eq!(both.record(&later).await.state, State::Pending);
    monitor.ok(&format!("POST /api/queues/q/pending_tasks/{now}:archive"));
    assert_eq!(both.record(&now).await.state, State::Dead);
    monitor.ok(&format!("DELETE /api/queues/q/archived_tasks/{now}"));
    assert_eq!(both.claim_one().await.spec.id, later);
    let listed = monitor.get("queues/q/active_tasks");
    assert_eq!((&listed["tasks"][0]["id"], &listed["stats"]["size"]), (&json!(later.to_string()), &json!(1)));
}
