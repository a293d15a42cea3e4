//! The steps as this store takes them.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use windlass::{
    Action, DeadReason, ErrorClass, GroupKey, JobId, JobOptions, JobState as State, Lease, Timestamp, Verdict,
    store::{
        Cluster, ExtendRequest, Failure, Finish, Finished, Flush, Flushed, Groups, Operate, Operated, PromoteRules,
        Prune, RescueRules, ServerInfo, Store,
    },
    testing::job,
};

use super::steps::{RETRY, Step, of_go, of_rust};
use crate::{Both, queue};

const LEASE: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_secs(RETRY);

pub(crate) struct RustSide {
    both: Both,
    redis: redis::Connection,
    held: HashMap<String, Lease>,
    /// When the server that runs began.
    started: Option<Timestamp>,
}

impl RustSide {
    pub(crate) fn over(both: Both) -> Self {
        let redis = redis::Client::open(&*both.url).expect("a URL").get_connection().expect("a connection");
        Self { both, redis, held: HashMap::new(), started: None }
    }

    pub(crate) async fn take(&mut self, step: &Step) {
        match *step {
            Step::Enqueue(id, options) => {
                let (options, payload) = of_rust(id, options);
                let job = job("hold").payload(payload).options(options).build(&self.both.env);
                assert!(self.both.store.enqueue(vec![job]).await.expect("enqueue")[0].is_new());
            }
            Step::EnqueueByGo(id, options) => drop(self.both.go.tell(of_go(id, options))),
            Step::Claim(id) => self.claim(id).await,
            Step::ClaimByGo(id) => {
                self.both.go.tell(json!({"do": "serve", "queue": "q"}));
                self.both.go.tell(json!({"do": "await", "id": id}));
            }
            Step::Extend(id) => self.extend(id).await,
            Step::Complete(id) => self.end(id, Verdict::Complete, "").await,
            Step::Fail(id) => self.fail(id).await,
            Step::Skip(id) => {
                self.end(id, Verdict::Bury(DeadReason::Buried), "never: skip retry for the task").await;
            }
            Step::Snooze(id) => self.end(id, Verdict::Snooze(WAIT), "").await,
            Step::CancelByGo(id) => self.cancelled_by_go(id).await,
            Step::Release(id) => {
                self.end(id, Verdict::Release, "").await;
                self.leave().await;
            }
            Step::Kill(id) => self.kill(id),
            Step::Recover(id) => self.recover(id).await,
            Step::Leave => self.leave().await,
            Step::Pause => drop(self.both.store.pause(&queue(), true).await.expect("pause")),
            Step::Unpause => drop(self.both.store.pause(&queue(), false).await.expect("resume")),
            Step::Promote(id) => self.promote(id).await,
            Step::Run(id) => self.run(id).await,
            Step::Archive(id) => self.operate(id, Action::Bury).await,
            Step::Cancel(id) => self.operate(id, Action::Cancel { reason: "unwanted".into() }).await,
            Step::Delete(id) => self.operate(id, Action::Delete).await,
            Step::Edit(id, payload) => self.operate(id, Action::Edit { payload: payload.into() }).await,
            Step::Flush(group) => self.flush(group).await,
            Step::Prune(id) => {
                self.score("asynq:{q}:completed", id);
                self.score("asynq:{q}:x:expire", id);
                self.score("asynq:{q}:completed", id);
                let pruned = self.both.store.prune(&Prune::Expired, 10).await.expect("prune");
                assert_eq!(pruned.removed, 1);
            }
        }
    }

    async fn claim(&mut self, id: &str) {
        self.beat().await;
        let claimed = self.both.claim_one().await;
        assert_eq!(claimed.spec.id.to_string(), id);
        self.held.insert(id.to_owned(), claimed.lease());
    }

    async fn beat(&mut self) {
        let started = *self.started.get_or_insert_with(|| self.both.env.wall());
        let mut info = ServerInfo::new(self.both.server, started);
        (info.slots, info.queues) = (4, vec![(queue(), 1)]);
        info.busy = u32::try_from(self.held.len()).expect("few");
        self.both.store.beat(&info).await.expect("beat");
    }

    fn score(&mut self, set: &str, id: &str) {
        redis::cmd("ZADD").arg(set).arg("XX").arg(1).arg(id).exec(&mut self.redis).expect("a score");
    }

    async fn extend(&mut self, id: &str) {
        self.score("asynq:{q}:lease", id);
        let leases = vec![self.held[id].clone()];
        let request = ExtendRequest { server: self.both.server, leases, lease: LEASE, ran_late: false };
        assert!(self.both.store.extend(&request).await.expect("extend").is_empty());
        // Go's heartbeat is both.
        self.beat().await;
    }

    async fn end(&mut self, id: &str, verdict: Verdict, message: &str) {
        let lease = self.held.remove(id).expect("it was claimed");
        let error = (!message.is_empty()).then(|| Failure { class: ErrorClass::Error, message: message.into() });
        let result = (verdict == Verdict::Complete).then(|| "done by go".into());
        let finish = Finish { lease, verdict, error, result, then: vec![], ran: LEASE, news: vec![] };
        let finished = self.both.store.finish(vec![finish]).await.expect("finish").remove(0);
        assert!(matches!(finished, Finished::Applied(_)), "{finished:?}");
    }

    /// As a server does: the last attempt buries.
    async fn fail(&mut self, id: &str) {
        let record = self.both.record(&id.parse().expect("an id")).await;
        let last = record.failures >= record.spec.max_retry;
        let verdict = if last { Verdict::Bury(DeadReason::Exhausted) } else { Verdict::RetryIn(WAIT) };
        self.end(id, verdict, "go says no").await;
    }

    /// Go's inspector asks; a server of ours reads the log and stops the run.
    async fn cancelled_by_go(&mut self, id: &str) {
        for _ in 0..500 {
            self.both.go.tell(json!({"do": "cancel", "id": id}));
            self.both.env.sleep(Duration::from_millis(20)).await;
            let log = self.both.store.cancelled(Some(0)).await.expect("the log");
            if let Some(wish) = log.wishes.first() {
                assert_eq!(wish.lease, self.held[id]);
                let verdict = Verdict::Cancel(wish.reason.clone());
                return self.end(id, verdict, "context canceled").await;
            }
        }
        panic!("this store does not hear of Go's cancel");
    }

    /// The leases run out, ours and Asynq's.
    fn kill(&mut self, id: &str) {
        if self.held.remove(id).is_none() {
            self.both.go.kill();
        }
        self.score("asynq:{q}:lease", id);
        self.score("asynq:{q}:x:lease", id);
    }

    async fn recover(&mut self, id: &str) {
        let id: JobId = id.parse().expect("an id");
        let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };
        // Nobody rescues right after an outage, and a store that nobody used has had one.
        for _ in 0..500 {
            self.both.store.rescue(&rules).await.expect("rescue");
            if self.both.record(&id).await.state != State::Running {
                return;
            }
            self.both.env.sleep(Duration::from_millis(20)).await;
        }
        panic!("{id} is not rescued");
    }

    async fn leave(&mut self) {
        self.both.store.leave(self.both.server).await.expect("leave");
        self.both.server = self.both.env.new_server_id();
        self.started = None;
    }

    async fn promote(&mut self, id: &str) {
        // Asynq's score is the whole second after our time; one that is not is Go's.
        for set in ["x:due", "scheduled", "retry"] {
            self.score(&format!("asynq:{{q}}:{set}"), id);
        }
        assert_eq!(self.both.store.promote(&PromoteRules::all(10)).await.expect("promote").moved, 1);
    }

    async fn run(&mut self, id: &str) {
        let state = self.both.record(&id.parse().expect("an id")).await.state;
        let action = if state == State::Dead { Action::Redrive } else { Action::RunNow };
        self.operate(id, action).await;
    }

    async fn operate(&mut self, id: &str, action: Action) {
        let answer = self.both.store.operate(&id.parse().expect("an id"), &action).await.expect("an operation");
        assert!(matches!(answer, Operated::Done(_) | Operated::Removed), "{action:?}: {answer:?}");
    }

    async fn flush(&mut self, group: &str) {
        let group = GroupKey::new(queue(), group);
        let members = self.both.store.members(&group, 10).await.expect("members");
        let payloads: Vec<_> = members.iter().map(|member| String::from_utf8_lossy(&member.spec.payload)).collect();
        let options = JobOptions::new().id("sum").queue("q");
        let into = job("sum").payload(payloads.join("+")).options(options).build(&self.both.env);
        let members = members.iter().map(|member| member.read()).collect();
        let flushed = self.both.store.flush(&Flush { group, members, into }).await.expect("flush");
        assert!(matches!(flushed, Flushed::Into(_)), "{flushed:?}");
    }
}
