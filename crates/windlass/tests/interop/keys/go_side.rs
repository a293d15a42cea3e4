//! The steps as Go's own client, server and inspector take them.

use std::time::Duration;

use redis::FromRedisValue;
use serde_json::json;
use windlass::Env;

use super::steps::{RETRY, Step, of_go};
use crate::sides::Go;

pub(crate) struct GoSide {
    go: Go,
    url: String,
    redis: redis::Connection,
    env: Env,
    serving: bool,
    /// How often each job was started.
    runs: Vec<String>,
}

impl GoSide {
    pub(crate) fn open(url: &str) -> Option<Self> {
        let redis = redis::Client::open(url).expect("a URL").get_connection().expect("a connection");
        let (go, url, env) = (Go::start(url)?, url.to_owned(), Env::system());
        Some(Self { go, url, redis, env, serving: false, runs: Vec::new() })
    }

    pub(crate) async fn take(&mut self, step: &Step) {
        match *step {
            Step::Enqueue(id, options) | Step::EnqueueByGo(id, options) => drop(self.go.tell(of_go(id, options))),
            Step::Claim(id) | Step::ClaimByGo(id) => self.claim(id).await,
            Step::Extend(id) => self.extend(id).await,
            Step::Complete(id) => self.end(id, "").await,
            Step::Fail(id) => self.end(id, "fail").await,
            Step::Skip(id) => self.end(id, "skip").await,
            Step::Snooze(id) => self.end(id, "soft").await,
            Step::CancelByGo(id) => self.cancel(id).await,
            Step::Release(_) | Step::Leave => self.stop(),
            Step::Kill(id) => self.kill(id),
            Step::Recover(id) => self.recover(id).await,
            Step::Pause => self.inspect("pause", ""),
            Step::Unpause => self.inspect("unpause", ""),
            Step::Promote(id) => self.promote(id).await,
            Step::Run(id) => self.inspect("run", id),
            Step::Archive(id) | Step::Cancel(id) => self.inspect("archive", id),
            Step::Delete(id) => self.inspect("delete", id),
            Step::Edit(id, payload) => {
                drop(self.go.tell(json!({"do": "edit", "queue": "q", "id": id, "payload": payload})));
            }
            Step::Flush(group) => self.flush(group).await,
            Step::Prune(id) => self.prune(id).await,
        }
    }

    fn inspect(&mut self, what: &str, id: &str) {
        self.go.tell(json!({"do": what, "queue": "q", "id": id}));
    }

    fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut self.redis).expect("an answer")
    }

    /// Waits until a question has this answer: up to ten seconds.
    async fn until<T: FromRedisValue + PartialEq>(&mut self, words: &[&str], expected: T) {
        for _ in 0..2000 {
            if self.ask::<T>(words) == expected {
                return;
            }
            self.env.sleep(Duration::from_millis(5)).await;
        }
        panic!("Go does not come to that: {words:?}");
    }

    fn state(&mut self, id: &str) -> Option<String> {
        self.ask(&["HGET", &format!("asynq:{{q}}:t:{id}"), "state"])
    }

    async fn until_not(&mut self, id: &str, state: &str) {
        for _ in 0..2000 {
            if self.state(id).as_deref() != Some(state) {
                return;
            }
            self.env.sleep(Duration::from_millis(5)).await;
        }
        panic!("{id} stays {state} in Go");
    }

    /// Starts a server, whose record is there when this returns.
    async fn serve(&mut self, group_size: u32) {
        let before: u32 = self.ask(&["ZCARD", "asynq:servers"]);
        self.go.tell(json!({"do": "serve", "queue": "q", "retry_ms": RETRY * 1000, "group_size": group_size}));
        self.serving = true;
        // The workers' is the later of the two.
        self.until(&["ZCARD", "asynq:workers"], before + 1).await;
    }

    fn stop(&mut self) {
        self.go.tell(json!({"do": "stop"}));
        self.serving = false;
    }

    async fn claim(&mut self, id: &str) {
        if !self.serving {
            self.serve(0).await;
        }
        self.runs.push(id.to_owned());
        let times = self.runs.iter().filter(|run| *run == id).count();
        self.go.tell(json!({"do": "await", "id": id, "times": times}));
    }

    async fn extend(&mut self, id: &str) {
        self.ask::<u32>(&["ZADD", "asynq:{q}:lease", "XX", "1", id]);
        self.until(&["ZCOUNT", "asynq:{q}:lease", "1", "1"], 0).await;
    }

    async fn end(&mut self, id: &str, how: &str) {
        self.go.tell(json!({"do": "let_go", "id": id, "state": how}));
        self.until_not(id, "active").await;
    }

    async fn cancel(&mut self, id: &str) {
        // A hint: the server may subscribe only now.
        for _ in 0..500 {
            self.go.tell(json!({"do": "cancel", "id": id}));
            self.env.sleep(Duration::from_millis(20)).await;
            if self.state(id).as_deref() != Some("active") {
                return;
            }
        }
        panic!("Go's worker does not hear of its cancel");
    }

    fn kill(&mut self, id: &str) {
        self.go.kill();
        self.ask::<u32>(&["ZADD", "asynq:{q}:lease", "XX", "1", id]);
        self.go = Go::start(&self.url).expect("it was there before");
        (self.serving, self.runs) = (false, Vec::new());
    }

    async fn recover(&mut self, id: &str) {
        self.serve(0).await;
        self.until_not(id, "active").await;
        self.stop();
    }

    async fn promote(&mut self, id: &str) {
        let state = self.state(id).expect("a state");
        self.ask::<u32>(&["ZADD", &format!("asynq:{{q}}:{state}"), "XX", "1", id]);
        self.serve(0).await;
        self.until_not(id, &state).await;
        self.stop();
    }

    async fn flush(&mut self, group: &str) {
        let size = self.ask(&["ZCARD", &format!("asynq:{{q}}:g:{group}")]);
        self.serve(size).await;
        self.until(&["EXISTS", "asynq:{q}:t:sum"], 1).await;
        self.until(&["EXISTS", "asynq:{q}:aggregation_sets"], 0).await;
        self.stop();
    }

    async fn prune(&mut self, id: &str) {
        self.ask::<u32>(&["ZADD", "asynq:{q}:completed", "XX", "1", id]);
        self.serve(0).await;
        self.until(&["EXISTS", "asynq:{q}:completed"], 0).await;
        self.stop();
    }
}
