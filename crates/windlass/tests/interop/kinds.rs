//! What no server of ours handles a server of Go's may: it does not say which kinds it does.

use std::time::Duration;

use serde_json::json;
use windlass::{
    JobOptions, JobState as State,
    store::{Cluster, Operate, ServerInfo},
};

use crate::{Both, both, queue};

impl Both {
    async fn sweep_unknown(&self) -> u32 {
        let mut info = ServerInfo::new(self.server, self.env.wall());
        (info.queues, info.kinds) = (vec![(queue(), 1)], vec!["ours".into()]);
        self.store.beat(&info).await.expect("beat");
        self.store.sweep_unknown(Duration::ZERO, 100).await.expect("a sweep")
    }

    /// Whether Asynq lists a server beside ours.
    fn lists_go(&mut self) -> bool {
        let ours = self.server.to_string();
        let listed = self.go.tell(json!({"do": "servers"}));
        let listed = listed["servers"].as_array().expect("a list").clone();
        listed.iter().any(|server| server["id"] != json!(ours))
    }
}

#[tokio::test]
async fn nothing_of_a_queue_that_a_live_go_server_serves_is_of_an_unknown_kind() {
    let mut both = both!();
    let id = both.add("theirs", JobOptions::new()).await;
    // So that it stands there, as behind thousands of others.
    both.store.pause(&queue(), true).await.expect("pause");
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    while !both.lists_go() {
        both.env.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(both.sweep_unknown().await, 0);
    assert_eq!(both.record(&id).await.state, State::Pending);
    both.go.tell(json!({"do": "stop"}));
    while both.lists_go() {
        both.env.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(both.sweep_unknown().await, 1, "the control: nobody is left who may handle it");
    assert_eq!(both.record(&id).await.state, State::Dead);
}
