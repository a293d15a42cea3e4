//! What each side's operators do to what the other side made, in each state that allows it.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::{
    Action, JobId, JobOptions, JobState as State, Start, Verdict,
    store::{Inspect, Operate, Operated},
};

use crate::{Both, both, sides::id};

const HOUR: Duration = Duration::from_secs(3600);

/// Asynq's word for a state.
fn word(state: State) -> &'static str {
    match state {
        State::Scheduled => "scheduled",
        State::Aggregating => "aggregating",
        State::Pending => "pending",
        State::Retrying => "retry",
        State::Completed => "completed",
        State::Dead | State::Cancelled => "archived",
        other => panic!("no test makes {other}"),
    }
}

impl Both {
    /// Makes a job in each of these states by our own means, under the given id.
    async fn made_here(&mut self, state: State, name: &str) {
        let options = JobOptions::new().id(name).retention(HOUR);
        let options = match state {
            State::Scheduled => options.process_in(HOUR),
            State::Aggregating => options.group("g"),
            _ => options,
        };
        let made = self.add("mail", options).await;
        let verdict = match state {
            State::Retrying => Verdict::RetryIn(HOUR),
            State::Completed => Verdict::Complete,
            State::Dead => return drop(self.store.operate(&made, &Action::Bury).await.expect("bury")),
            _ => return,
        };
        let claimed = self.claim_one().await;
        self.finish(claimed.lease(), verdict).await;
    }

    /// Makes many by Go's client and server: those that run come first, so that the server takes no others.
    async fn made_by_go(&mut self, names: &[(State, String)]) {
        let runs = |state: &State| matches!(state, State::Retrying | State::Completed | State::Dead);
        for (state, name) in names.iter().filter(|(state, _)| runs(state)) {
            let kind = match state {
                State::Retrying => "fail",
                State::Dead => "skip",
                _ => "ok",
            };
            self.go_adds(name, kind, json!({}));
        }
        self.go.tell(json!({"do": "serve", "queue": "q", "retry_ms": 3_600_000}));
        for (state, name) in names.iter().filter(|(state, _)| runs(state)) {
            self.until(&id(name), *state).await;
        }
        self.go.tell(json!({"do": "stop"}));
        for (state, name) in names.iter().filter(|(state, _)| !runs(state)) {
            let extra = match state {
                State::Scheduled => json!({"in_ms": 3_600_000}),
                State::Aggregating => json!({"group": "g"}),
                _ => json!({}),
            };
            self.go_adds(name, "ok", extra);
        }
    }

    fn go_adds(&mut self, name: &str, kind: &str, extra: Value) {
        let mut command = json!({
            "do": "enqueue", "queue": "q", "id": name, "kind": kind, "payload": "{}", "retain_ms": 3_600_000,
        });
        command.as_object_mut().expect("a map").extend(extra.as_object().cloned().expect("a map"));
        self.go.tell(command);
    }

    /// What both sides say of a job: none of it is left.
    async fn both_miss(&mut self, id: &JobId) -> bool {
        let shown = self.go.ask(json!({"do": "task", "queue": "q", "id": id.to_string()}));
        self.store.get(id).await.expect("get").is_none() && shown.get("error").is_some()
    }

    /// A wish of ours to cancel a run of Go's, as it stands in Redis, of which Go's worker has not heard.
    fn wish_unheard(&self, name: &str) {
        let mut both = redis::pipe();
        both.cmd("HSET").arg(format!("asynq:{{q}}:t:{name}")).arg("x:wish").arg("unwanted").ignore();
        both.cmd("SADD").arg("asynq:{q}:x:wishes").arg(name).ignore();
        both.exec(&mut self.redis()).expect("a wish");
    }

    /// Both sides count the same in each state.
    async fn counts_agree(&mut self) {
        let shown = self.go.queue();
        let ours = self.store.census().await.expect("census").queues[0].by_state;
        let count = |state: State| ours[state.code() as usize];
        for state in [State::Pending, State::Scheduled, State::Retrying, State::Completed, State::Aggregating] {
            assert_eq!(shown[word(state)], count(state), "{state}: {shown}");
        }
        assert_eq!(shown["archived"], count(State::Dead) + count(State::Cancelled), "{shown}");
        assert_eq!(shown["active"], count(State::Running), "{shown}");
    }
}

#[tokio::test]
async fn gos_inspector_does_to_our_jobs_what_it_says() {
    use State::*;
    let mut both = both!();
    let cases = [
        (Pending, "archive", Some(Dead)),
        (Pending, "delete", None),
        (Scheduled, "run", Some(Pending)),
        (Scheduled, "archive", Some(Dead)),
        (Scheduled, "delete", None),
        (Scheduled, "edit", Some(Scheduled)),
        (Retrying, "run", Some(Pending)),
        (Retrying, "archive", Some(Dead)),
        (Retrying, "delete", None),
        (Aggregating, "run", Some(Pending)),
        (Aggregating, "archive", Some(Dead)),
        (Aggregating, "delete", None),
        (Dead, "run", Some(Pending)),
        (Dead, "delete", None),
        (Completed, "run", Some(Pending)),
        (Completed, "delete", None),
    ];
    // Those that run to get there first: a claim takes what is pending.
    let last = |state: State| matches!(state, Pending);
    for late in [false, true] {
        for (state, action, _) in cases.iter().filter(|(state, ..)| last(*state) == late) {
            both.made_here(*state, &format!("{state}-{action}")).await;
        }
    }
    both.counts_agree().await;
    for (state, action, expected) in cases {
        let name = format!("{state}-{action}");
        both.go.tell(json!({"do": action, "queue": "q", "id": name, "payload": "[]"}));
        let found = both.store.get(&id(&name)).await.expect("get");
        assert_eq!(found.as_ref().map(|job| job.state), expected, "{name}");
        if action == "edit" {
            assert_eq!(&found.expect("it is there").spec.payload[..], b"[]");
        }
        both.counts_agree().await;
    }
    let ready = both.claim().await;
    assert_eq!(ready.len(), cases.iter().filter(|(.., expected)| *expected == Some(Pending)).count());
    for job in ready {
        both.finish(job.lease(), Verdict::Complete).await;
    }
    both.counts_agree().await;
}

#[tokio::test]
async fn our_operators_do_to_gos_tasks_what_they_say() {
    use State::*;
    let mut both = both!();
    let cancel = || Action::Cancel { reason: "unwanted".into() };
    let edit = || Action::Edit { payload: "[]".into() };
    let later = || Action::Reschedule { start: Start::In(HOUR) };
    let cases = [
        (Pending, cancel(), Some(Cancelled)),
        (Pending, Action::Bury, Some(Dead)),
        (Pending, Action::Delete, None),
        (Pending, edit(), Some(Pending)),
        (Pending, later(), Some(Scheduled)),
        (Scheduled, cancel(), Some(Cancelled)),
        (Scheduled, Action::Bury, Some(Dead)),
        (Scheduled, Action::Delete, None),
        (Scheduled, Action::RunNow, Some(Pending)),
        (Scheduled, edit(), Some(Scheduled)),
        (Retrying, cancel(), Some(Cancelled)),
        (Retrying, Action::Bury, Some(Dead)),
        (Retrying, Action::Delete, None),
        (Retrying, Action::RunNow, Some(Pending)),
        (Retrying, later(), Some(Scheduled)),
        (Aggregating, cancel(), Some(Cancelled)),
        (Aggregating, Action::Bury, Some(Dead)),
        (Aggregating, Action::Delete, None),
        (Aggregating, Action::RunNow, Some(Pending)),
        (Aggregating, edit(), Some(Aggregating)),
        (Dead, Action::Redrive, Some(Pending)),
        (Dead, Action::Delete, None),
        (Dead, edit(), Some(Dead)),
        (Completed, Action::Delete, None),
    ];
    let names: Vec<_> = cases.iter().enumerate().map(|(at, (state, ..))| (*state, format!("{state}-{at}"))).collect();
    both.made_by_go(&names).await;
    both.counts_agree().await;
    for ((_, action, expected), (_, name)) in std::iter::zip(&cases, &names) {
        let id = id(name);
        let done = both.store.operate(&id, action).await.expect("an operation");
        match expected {
            None => assert!(done == Operated::Removed && both.both_miss(&id).await, "{name}: {done:?}"),
            Some(state) => {
                assert_eq!(done, Operated::Done(*state), "{name}");
                assert_eq!(both.go.task(name)["state"], word(*state), "{name}");
                let payload = if matches!(action, Action::Edit { .. }) { "[]" } else { "{}" };
                assert_eq!(both.go.task(name)["payload"], payload, "{name}");
            }
        }
        both.counts_agree().await;
    }
    // All that goes on can be run by Go.
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    for ((.., expected), (_, name)) in std::iter::zip(&cases, &names) {
        if *expected == Some(Pending) && !name.starts_with("retrying") && !name.starts_with("dead") {
            both.until(&id(name), Completed).await;
        }
    }
}

#[tokio::test]
async fn gos_calls_on_all_tasks_of_a_state_take_ours_too() {
    use State::*;
    let mut both = both!();
    for (state, call, expected) in [
        (Scheduled, "run_all", Some(Pending)),
        (Scheduled, "archive_all", Some(Dead)),
        (Scheduled, "delete_all", None),
        (Retrying, "run_all", Some(Pending)),
        (Retrying, "archive_all", Some(Dead)),
        (Retrying, "delete_all", None),
        (Dead, "run_all", Some(Pending)),
        (Dead, "delete_all", None),
        (Completed, "delete_all", None),
        (Pending, "archive_all", Some(Dead)),
        (Pending, "delete_all", None),
    ] {
        let names = [format!("{state}-{call}-1"), format!("{state}-{call}-2")];
        for name in &names {
            both.made_here(state, name).await;
        }
        let done = both.go.tell(json!({"do": call, "queue": "q", "state": word(state)}));
        assert_eq!(done["count"], 2, "{call} {state}");
        for name in names {
            let found = both.store.get(&id(&name)).await.expect("get");
            assert_eq!(found.map(|job| job.state), expected, "{name}");
            both.store.operate(&id(&name), &Action::Delete).await.expect("delete");
        }
        both.counts_agree().await;
    }
}

/// The run is Go's, the wish ours: Go's worker hears of it by Asynq's channel and ends its attempt as failed, and the
/// next sweep ends the job before anybody runs it again.
#[tokio::test]
async fn what_go_runs_can_be_cancelled_here() {
    let mut both = both!();
    both.go_adds("cancelled-here", "hold", json!({}));
    both.go.tell(json!({"do": "serve", "queue": "q", "retry_ms": 3_600_000}));
    both.go.tell(json!({"do": "await", "id": "cancelled-here"}));
    let id = id("cancelled-here");
    let wish = Action::Cancel { reason: "unwanted".into() };
    for _ in 0..1000 {
        // The subscription of Go's worker may have been made only now.
        assert_eq!(both.store.operate(&id, &wish).await.expect("cancel"), Operated::Done(State::Running));
        both.sweep().await;
        both.env.sleep(Duration::from_millis(10)).await;
        if both.record(&id).await.state != State::Running {
            break;
        }
    }
    both.sweep().await;
    let record = both.record(&id).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Cancelled, Some("unwanted")));
    assert_eq!(both.go.task("cancelled-here")["state"], "archived");
}

/// The same with a worker that does not hear of it, and gives the task back at its shutdown.
#[tokio::test]
async fn what_go_gives_back_was_cancelled_here_all_the_same() {
    let mut both = both!();
    both.go_adds("given-back", "hold", json!({}));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.go.tell(json!({"do": "await", "id": "given-back"}));
    let id = id("given-back");
    both.wish_unheard("given-back");
    both.sweep().await;
    assert_eq!(both.record(&id).await.state, State::Running, "Go still runs it");
    both.go.tell(json!({"do": "stop"}));
    assert_eq!(both.record(&id).await.state, State::Pending);
    both.sweep().await;
    assert_eq!(both.record(&id).await.state, State::Cancelled);
    assert!(both.claim().await.is_empty());
}

/// A wish that came too late counts for nothing once Go has ended the job, also when somebody runs it again.
#[tokio::test]
async fn a_wish_that_go_was_ahead_of_is_forgotten() {
    let mut both = both!();
    both.go_adds("too-late", "hold", json!({}));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.go.tell(json!({"do": "await", "id": "too-late"}));
    both.wish_unheard("too-late");
    both.go.tell(json!({"do": "let_go", "id": "too-late"}));
    both.until(&id("too-late"), State::Completed).await;
    both.go.tell(json!({"do": "stop"}));
    both.sweep().await;
    both.go.tell(json!({"do": "run", "queue": "q", "id": "too-late"}));
    both.sweep().await;
    let claimed = both.claim_one().await;
    both.finish(claimed.lease(), Verdict::RetryIn(HOUR)).await;
    assert_eq!(both.record(&id("too-late")).await.state, State::Retrying);
}
