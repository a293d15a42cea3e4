//! Go's Asynq and this store on the same queues: its own client, server and inspector (`interop/`) against ours.
//! Where Go is missing this says so and checks nothing; in CI its absence fails.
#![cfg(all(feature = "redis", feature = "testing"))]

mod archive;
mod cancel;
mod defects;
mod fence;
mod mixed;
#[path = "../servers/mod.rs"]
mod servers;

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};
use windlass::{
    Action, Env, JobId, JobOptions, JobRecord, JobState as State, KindFilter, Lease, QueueName, ServerId, Verdict,
    decide::queues::QueueShare,
    store::{
        ClaimRequest, Claimed, Cluster, Enqueued, Finish, Finished, Inspect, Operate, RescueRules, ServerInfo, Store,
        redis::RedisStore,
    },
    testing::job,
};

/// Go's side, a process.
struct Go {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Go {
    fn start(url: &str) -> Option<Self> {
        let mut child = Command::new(driver()?)
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the driver that was just built");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Some(Self { child, input, output })
    }

    /// Gives a command and its answer, which may be an error of Go's.
    fn ask(&mut self, command: Value) -> Value {
        let input = self.input.as_mut().expect("a pipe");
        writeln!(input, "{command}").and_then(|()| input.flush()).expect("the driver lives");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }

    /// The same, for what must go well.
    fn tell(&mut self, command: Value) -> Value {
        let answer = self.ask(command.clone());
        assert_eq!(answer.get("error"), None, "{command}");
        answer
    }

    fn task(&mut self, id: &str) -> Value {
        self.tell(json!({"do": "task", "queue": "q", "id": id}))
    }

    fn queue(&mut self) -> Value {
        self.tell(json!({"do": "queue", "queue": "q"}))
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// The driver, built once; none where Go is missing.
fn driver() -> Option<&'static PathBuf> {
    static DRIVER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let module = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop"));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interop");
        let built = Command::new("go").arg("build").arg("-o").arg(&path).arg(".").current_dir(module).status();
        match built {
            Ok(status) if status.success() => Some(path),
            Ok(status) => panic!("go build failed: {status}"),
            Err(error) if std::env::var_os("CI").is_some() => panic!("Go is missing: {error}"),
            Err(error) => {
                eprintln!("Go is missing ({error}), so nothing is checked against Asynq");
                None
            }
        }
    };
    DRIVER.get_or_init(build).as_ref()
}

/// Both sides on a database of their own.
struct Both {
    go: Go,
    store: RedisStore,
    env: Env,
    server: ServerId,
    claims: u64,
    url: String,
}

impl Both {
    async fn open() -> Option<Self> {
        let url = servers::database_url();
        let go = Go::start(&url)?;
        let env = Env::system();
        let store = RedisStore::open(&url, env.clone()).await.expect("open");
        let server = env.new_server_id();
        Some(Self { go, store, env, server, claims: 0, url })
    }

    async fn add(&self, kind: &str, options: JobOptions) -> JobId {
        let job = job(kind).options(options.queue("q")).build(&self.env);
        let id = job.spec.id.clone();
        assert_eq!(self.store.enqueue(vec![job]).await.expect("enqueue"), [Enqueued::New(id.clone())]);
        id
    }

    async fn claim(&mut self) -> Vec<Claimed> {
        self.claims += 1;
        let request = ClaimRequest {
            server: self.server,
            sequence: self.claims,
            limit: 10,
            slots: 10,
            quick: Default::default(),
            shares: vec![QueueShare { queue: queue(), quota: 10 }],
            kinds: KindFilter::all(),
            lease: Duration::from_secs(10),
            suspect: false,
        };
        self.store.claim(&request).await.expect("claim").jobs
    }

    async fn claim_one(&mut self) -> Claimed {
        let mut jobs = self.claim().await;
        assert_eq!(jobs.len(), 1);
        jobs.remove(0)
    }

    async fn finish(&self, lease: Lease, verdict: Verdict) -> Finished {
        let result = Some("done by rust".into());
        let ran = Duration::from_millis(5);
        let finish = Finish { lease, verdict, error: None, result, then: Vec::new(), ran, news: Vec::new() };
        self.store.finish(vec![finish]).await.expect("finish").remove(0)
    }

    async fn record(&self, id: &JobId) -> JobRecord {
        self.store.get(id).await.expect("get").expect("the job is there")
    }

    /// Waits until the job is in this state: up to ten seconds.
    async fn until(&self, id: &JobId, state: State) -> JobRecord {
        for _ in 0..1000 {
            if let Some(job) = self.store.get(id).await.expect("get").filter(|job| job.state == state) {
                return job;
            }
            self.env.sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} does not become {state}: {:?}", self.store.get(id).await);
    }
}

fn queue() -> QueueName {
    QueueName::new("q").expect("a queue")
}

/// Both sides, or the end of the test where Go is missing.
macro_rules! both {
    () => {
        match Both::open().await {
            Some(both) => both,
            None => return,
        }
    };
}

use both;

#[tokio::test]
async fn what_go_enqueues_rust_runs_and_go_sees_its_result() {
    let mut both = both!();
    both.go.tell(json!({
        "do": "enqueue", "queue": "q", "id": "a", "kind": "mail", "payload": "{\"to\":1}", "max_retry": 3,
        "timeout_ms": 90_000, "retain_ms": 60_000, "headers": {"k": "v"},
    }));
    let claimed = both.claim_one().await;
    let spec = &claimed.spec;
    assert_eq!((spec.kind.as_str(), &spec.payload[..], spec.max_retry), ("mail", &br#"{"to":1}"#[..], 3));
    assert_eq!((spec.timeout, spec.retention), (Duration::from_secs(90), Duration::from_secs(60)));
    assert_eq!((spec.headers["k"].as_str(), claimed.attempt), ("v", 1));
    assert!(claimed.waited < Duration::from_secs(60));
    assert_eq!(both.finish(claimed.lease(), Verdict::Complete).await, Finished::Applied(State::Completed));
    let task = both.go.task("a");
    assert_eq!((&task["state"], &task["result"]), (&json!("completed"), &json!("done by rust")));
    let queue = both.go.queue();
    assert_eq!((&queue["completed"], &queue["processed"], &queue["failed"]), (&json!(1), &json!(1), &json!(0)));
}

#[tokio::test]
async fn what_rust_enqueues_go_runs_and_rust_sees_its_result() {
    let mut both = both!();
    let options = JobOptions::new().retention(Duration::from_secs(60)).header("k", "v").max_retry(7);
    let id = both.add("mail", options).await;
    let shown = both.go.task(&id.to_string());
    assert_eq!((&shown["state"], &shown["max_retry"]), (&json!("pending"), &json!(7)));
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    let record = both.until(&id, State::Completed).await;
    assert_eq!(record.result.as_deref(), Some(&b"done by go"[..]));
    let ran = both.go.tell(json!({"do": "ran"}));
    assert_eq!((&ran["ran"][0]["payload"], &ran["ran"][0]["headers"]["k"]), (&json!("{}"), &json!("v")));
}

#[tokio::test]
async fn what_fails_in_go_goes_on_in_rust_with_its_failures_counted() {
    let mut both = both!();
    let id = both.add("fail", JobOptions::new()).await;
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.until(&id, State::Retrying).await;
    both.go.tell(json!({"do": "stop"}));
    let record = both.record(&id).await;
    assert!(record.failures >= 1);
    assert_eq!(record.errors[0].message, "go says no");
    let mut claimed = Vec::new();
    while claimed.is_empty() {
        both.env.sleep(Duration::from_millis(20)).await;
        both.store.promote(10).await.expect("promote");
        claimed = both.claim().await;
    }
    assert_eq!((claimed[0].failures, claimed[0].attempt), (record.failures, record.failures + 1));
    both.finish(claimed[0].lease(), Verdict::RetryIn(Duration::from_secs(3600))).await;
    let task = both.go.task(&id.to_string());
    assert_eq!((&task["state"], &task["retried"]), (&json!("retry"), &json!(record.failures + 1)));
}

#[tokio::test]
async fn what_rust_holds_is_active_for_go_and_out_of_its_reach() {
    let mut both = both!();
    let id = both.add("mail", JobOptions::new()).await;
    let claimed = both.claim_one().await;
    let task = both.go.task(&id.to_string());
    assert_eq!((&task["state"], &task["orphaned"]), (&json!("active"), &json!(false)));
    assert_eq!(both.go.queue()["active"], 1);
    for action in ["delete", "archive", "run"] {
        let refused = both.go.ask(json!({"do": action, "queue": "q", "id": id.to_string()}));
        assert!(refused.get("error").is_some(), "{action}");
    }
    let active = both.go.tell(json!({"do": "list", "queue": "q", "state": "active"}));
    assert_eq!(active["tasks"][0]["id"], id.to_string());
    assert_eq!(both.finish(claimed.lease(), Verdict::Release).await, Finished::Applied(State::Pending));
    assert_eq!(both.go.task(&id.to_string())["state"], "pending");
}

#[tokio::test]
async fn a_queue_that_one_side_pauses_is_paused_for_the_other() {
    let mut both = both!();
    both.add("mail", JobOptions::new()).await;
    both.go.tell(json!({"do": "pause", "queue": "q"}));
    assert!(both.claim().await.is_empty());
    assert!(both.store.census().await.expect("census").queues[0].paused);
    both.go.tell(json!({"do": "unpause", "queue": "q"}));
    both.store.pause(&queue(), true).await.expect("pause");
    assert_eq!(both.go.queue()["paused"], true);
    both.store.pause(&queue(), false).await.expect("resume");
    assert_eq!(both.claim().await.len(), 1);
}

#[tokio::test]
async fn what_rust_buries_or_cancels_go_can_run_again() {
    let mut both = both!();
    let buried = both.add("mail", JobOptions::new()).await;
    let cancelled = both.add("mail", JobOptions::new()).await;
    both.store.operate(&buried, &Action::Bury).await.expect("bury");
    both.store.operate(&cancelled, &Action::Cancel { reason: "no longer wanted".into() }).await.expect("cancel");
    let archived = both.go.tell(json!({"do": "list", "queue": "q", "state": "archived"}));
    assert_eq!(archived["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(both.go.task(&cancelled.to_string())["last_error"], "no longer wanted");
    for id in [&buried, &cancelled] {
        both.go.tell(json!({"do": "run", "queue": "q", "id": id.to_string()}));
        assert_eq!(both.record(id).await.state, State::Pending);
    }
    assert_eq!(both.claim().await.len(), 2);
}

#[tokio::test]
async fn what_go_archives_is_dead_and_can_be_redriven() {
    let mut both = both!();
    let id = both.add("skip", JobOptions::new()).await;
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    let record = both.until(&id, State::Dead).await;
    both.go.tell(json!({"do": "stop"}));
    assert!(record.errors[0].message.starts_with("never"), "{:?}", record.errors);
    both.store.operate(&id, &Action::Redrive).await.expect("redrive");
    assert_eq!(both.claim_one().await.spec.id, id);
}

#[tokio::test]
async fn an_id_that_one_side_holds_is_a_conflict_for_the_other() {
    let mut both = both!();
    both.add("mail", JobOptions::new().id("ours")).await;
    let answer = both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "ours", "kind": "mail", "payload": ""}));
    assert_eq!(answer["duplicate"], "id");
    both.go.tell(json!({"do": "enqueue", "queue": "q", "id": "theirs", "kind": "mail", "payload": ""}));
    let again = job("mail").options(JobOptions::new().id("theirs").queue("q")).build(&both.env);
    let answers = both.store.enqueue(vec![again]).await.expect("enqueue");
    assert!(matches!(&answers[0], Enqueued::Duplicate(_, Some(State::Pending))), "{answers:?}");
}

#[tokio::test]
async fn a_server_of_ours_is_listed_by_gos_inspector() {
    let mut both = both!();
    let mut info = ServerInfo::new(both.server, both.env.wall());
    (info.host, info.pid, info.slots) = ("host-1".into(), 4711, 10);
    info.queues = vec![(queue(), 3)];
    both.store.beat(&info).await.expect("beat");
    let servers = both.go.tell(json!({"do": "servers"}));
    let shown = &servers["servers"][0];
    assert_eq!(
        (&shown["host"], &shown["status"], &shown["queues"]["q"]),
        (&json!("host-1"), &json!("active"), &json!(3))
    );
    both.store.leave(both.server).await.expect("leave");
    assert_eq!(both.go.tell(json!({"do": "servers"}))["servers"], json!([]));
}

/// The zombie: a Go worker that still runs a job after Rust took it over reports nothing that Rust accepts as its own.
#[tokio::test]
async fn a_run_of_rusts_that_go_ended_is_stale() {
    let mut both = both!();
    let id = both.add("hold", JobOptions::new().retention(Duration::from_secs(60))).await;
    both.go.tell(json!({"do": "serve", "queue": "q"}));
    both.until(&id, State::Running).await;
    // Asynq's lease lapses while the worker goes on: as after a long sleep of its host.
    let mut redis = redis::Client::open(&*both.url).expect("a URL").get_connection().expect("a connection");
    let lapsed = redis::cmd("ZADD").arg("asynq:{q}:lease").arg(1).arg(id.to_string()).query::<()>(&mut redis);
    lapsed.expect("it is only a number");
    let rules = RescueRules { poison_after: 3, lease: Duration::from_secs(10), limit: 10, ran_late: false };
    both.store.rescue(&rules).await.expect("rescue");
    both.until(&id, State::Retrying).await;
    both.store.operate(&id, &Action::RunNow).await.expect("run");
    let claimed = both.claim().await;
    if let Some(held) = claimed.first() {
        both.go.tell(json!({"do": "let_go", "id": id.to_string()}));
        both.until(&id, State::Completed).await;
        assert_eq!(both.finish(held.lease(), Verdict::RetryIn(Duration::ZERO)).await, Finished::Stale);
        assert_eq!(both.record(&id).await.state, State::Completed);
    }
}

/// All keys and what is in them, without what is ours alone and without moments.
fn dump(url: &str) -> Value {
    let mut redis = redis::Client::open(url).expect("a URL").get_connection().expect("a connection");
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut redis).expect("keys");
    keys.sort();
    let mut dump = serde_json::Map::new();
    for key in keys.into_iter().filter(|key| !key.contains(":x:")) {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut redis).expect("a type");
        let value = match kind.as_str() {
            "hash" => {
                let fields: std::collections::BTreeMap<String, Vec<u8>> =
                    redis::cmd("HGETALL").arg(&key).query(&mut redis).expect("a hash");
                let ours = |name: &String| !name.starts_with("x:");
                let shown = |(name, value): (String, Vec<u8>)| match name.as_str() {
                    "pending_since" => (name, json!(value.len())),
                    _ => (name, json!(value)),
                };
                json!(fields.into_iter().filter(|(name, _)| ours(name)).map(shown).collect::<serde_json::Map<_, _>>())
            }
            "zset" => {
                json!(redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).query::<Vec<String>>(&mut redis).expect("a set"))
            }
            "list" => {
                json!(redis::cmd("LRANGE").arg(&key).arg(0).arg(-1).query::<Vec<String>>(&mut redis).expect("a list"))
            }
            "set" => json!(redis::cmd("SMEMBERS").arg(&key).query::<Vec<String>>(&mut redis).expect("a set")),
            _ => json!(redis::cmd("GET").arg(&key).query::<String>(&mut redis).expect("a string")),
        };
        dump.insert(key, json!([kind, value]));
    }
    Value::Object(dump)
}

#[tokio::test]
async fn an_enqueue_leaves_the_keys_that_go_leaves() {
    let plain = || JobOptions::new().id("a").max_retry(3).retention(Duration::from_secs(60)).header("k", "v");
    let cases = [
        (json!({}), plain()),
        (json!({"in_ms": 60_000}), plain().process_in(Duration::from_secs(60))),
        (json!({"group": "g"}), plain().group("g")),
    ];
    for (extra, options) in cases {
        let mut of_go = both!();
        let mut command = json!({
            "do": "enqueue", "queue": "q", "id": "a", "kind": "mail", "payload": "{}", "max_retry": 3,
            "retain_ms": 60_000, "headers": {"k": "v"},
        });
        command.as_object_mut().expect("a map").extend(extra.as_object().cloned().expect("a map"));
        of_go.go.tell(command);
        let of_rust = both!();
        of_rust.add("mail", options).await;
        assert_eq!(dump(&of_rust.url), dump(&of_go.url), "{extra}");
    }
}
