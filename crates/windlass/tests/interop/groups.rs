//! Groups whose members and aggregators are of both sides.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use windlass::{
    Client, Group, GroupRules, JobError, JobId, JobOptions, JobState as State, Json, RawJob, Router, Server,
    store::{Groups, Inspect, redis::RedisStore},
    testing::job,
};

use crate::{Both, both, sides::id};

const MINUTE: Duration = Duration::from_secs(60);

impl Both {
    /// A member that Go brings in.
    fn join_by_go(&mut self, name: &str, payload: &str) {
        self.go.tell(json!({
            "do": "enqueue", "queue": "q", "id": name, "kind": "note", "payload": payload, "group": "g", "retain_ms": 60_000,
        }));
    }

    /// One that we do.
    async fn join(&self, name: &str, payload: &'static str) -> JobId {
        use windlass::store::Store;
        let options = JobOptions::new().id(name).queue("q").group("g").retention(MINUTE);
        let job = job("note").payload(payload).options(options).build(&self.env);
        assert!(self.store.enqueue(vec![job]).await.expect("enqueue")[0].is_new());
        id(name)
    }
}

#[tokio::test]
async fn gos_aggregator_takes_our_members_beside_its_own() {
    let mut both = both!();
    let ours = both.join("a", "1").await;
    both.join_by_go("b", "2");
    assert_eq!(both.go.tell(json!({"do": "groups", "queue": "q"}))["groups"], json!({"g": 2}));
    both.go.tell(json!({"do": "serve", "queue": "q", "group_size": 2}));
    both.go.tell(json!({"do": "await", "id": "sum"}));
    both.go.tell(json!({"do": "stop"}));
    let ran = both.go.tell(json!({"do": "ran"}));
    assert_eq!((&ran["ran"][0]["kind"], &ran["ran"][0]["payload"]), (&json!("sum"), &json!("1+2")));
    assert!(both.store.get(&ours).await.expect("get").is_none(), "Go deletes what it has aggregated");
    assert!(both.store.groups(None, None, 10).await.expect("groups").items.is_empty());
}

#[tokio::test]
async fn our_aggregator_takes_gos_members_beside_our_own() {
    let mut both = both!();
    both.join_by_go("a", "1");
    both.join("b", "2").await;
    let store = RedisStore::open(&both.url, both.env.clone()).await.expect("open");
    let client = Client::builder().env(both.env.clone()).on(Arc::new(store));
    let sum = |group: &Group| {
        let numbers: Vec<u32> = group.payloads()?;
        let sum = RawJob::new("sum", numbers.iter().sum::<u32>().to_string());
        Ok::<_, JobError>(sum.with(|options| options.id("sum").retention(MINUTE)))
    };
    let echo = |job: RawJob| async move { Ok::<_, JobError>(Json(String::from_utf8_lossy(&job.payload).into_owned())) };
    let server = Server::new(&client, Router::new().at("sum", echo)).queues([("q", 1)]).aggregate(
        "g",
        GroupRules::new().max_size(2),
        sum,
    );
    let server = server.start().await.expect("start");
    let done = both.until(&id("sum"), State::Completed).await;
    assert_eq!(done.result.as_deref(), Some(&br#""3""#[..]));
    server.shutdown().await;
    for name in ["a", "b"] {
        let member = both.record(&id(name)).await;
        assert_eq!((member.state, member.flushed_into), (State::Completed, Some(id("sum"))), "{name}");
        assert_eq!(both.go.task(name)["state"], "completed");
    }
    assert_eq!(both.go.tell(json!({"do": "groups", "queue": "q"}))["groups"], json!({}));
    assert_eq!(both.go.task("sum")["result"], r#""3""#);
}

#[tokio::test]
async fn members_are_listed_by_the_other_side_and_taken_out_of_their_group() {
    let mut both = both!();
    for name in ["a", "b"] {
        both.join(name, "1").await;
    }
    for name in ["c", "d"] {
        both.join_by_go(name, "2");
    }
    let listed = both.go.tell(json!({"do": "list", "queue": "q", "state": "aggregating", "group": "g"}));
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(4));
    let groups = both.store.groups(None, None, 10).await.expect("groups");
    assert_eq!((groups.items.len(), groups.items[0].size), (1, 4));

    both.go.tell(json!({"do": "run", "queue": "q", "id": "a"}));
    both.go.tell(json!({"do": "delete", "queue": "q", "id": "b"}));
    both.go.tell(json!({"do": "archive", "queue": "q", "id": "c"}));
    assert_eq!(both.record(&id("a")).await.state, State::Pending);
    assert!(both.store.get(&id("b")).await.expect("get").is_none());
    assert_eq!(both.record(&id("c")).await.state, State::Dead);
    let members = both.store.members(&windlass::GroupKey::new(crate::queue(), "g"), 10).await.expect("members");
    assert_eq!(members.iter().map(|member| member.spec.id.clone()).collect::<Vec<_>>(), [id("d")]);
    assert_eq!(both.store.delete_members(&windlass::GroupKey::new(crate::queue(), "g"), 10).await.expect("delete"), 1);
    assert_eq!(both.go.tell(json!({"do": "groups", "queue": "q"}))["groups"], json!({}));
}
