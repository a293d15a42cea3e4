//! The two sides of each test: Go's driver, which is a process, and a store of ours on the same database.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};
use windlass::{
    Env, JobId, JobOptions, JobRecord, JobState as State, KindFilter, Lease, QueueName, ServerId, Verdict,
    decide::queues::QueueShare,
    store::{ClaimRequest, Claimed, Enqueued, Finish, Finished, Inspect, Store, redis::RedisStore},
    testing::job,
};

use crate::servers;

/// A program of Go's that answers each line with a JSON document.
pub(crate) struct Driver {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Driver {
    fn start(program: &PathBuf, url: &str) -> Self {
        let mut start = Command::new(program);
        let started = start.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.expect("the driver that was just built");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    /// Asynq's web UI (`interop/asynqmon`), asked by lines such as `GET /api/queues`.
    pub(crate) fn monitor(url: &str) -> Option<Self> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        Some(Self::start(PROGRAM.get_or_init(|| build("asynqmon")).as_ref()?, url))
    }

    pub(crate) fn line(&mut self, line: &str) -> Value {
        let input = self.input.as_mut().expect("a pipe");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("the driver lives");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Builds a driver of `interop/`; none where Go is missing. Each is built once a test program.
fn build(name: &str) -> Option<PathBuf> {
    let mut module = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop"));
    if name != "interop" {
        module.push(name);
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
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
}

/// Asynq's client, server, inspector and scheduler (`interop/`).
pub(crate) struct Go(Driver);

impl Go {
    pub(crate) fn start(url: &str) -> Option<Self> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        Some(Self(Driver::start(PROGRAM.get_or_init(|| build("interop")).as_ref()?, url)))
    }

    /// Gives a command and its answer, which may be an error of Go's.
    pub(crate) fn ask(&mut self, command: Value) -> Value {
        self.0.line(&command.to_string())
    }

    /// The same, for what must go well.
    pub(crate) fn tell(&mut self, command: Value) -> Value {
        let answer = self.ask(command.clone());
        assert_eq!(answer.get("error"), None, "{command}");
        answer
    }

    pub(crate) fn task(&mut self, id: &str) -> Value {
        self.tell(json!({"do": "task", "queue": "q", "id": id}))
    }

    pub(crate) fn queue(&mut self) -> Value {
        self.tell(json!({"do": "queue", "queue": "q"}))
    }

    /// Ends it as a crash does: nothing is given back.
    pub(crate) fn kill(&mut self) {
        self.0.child.kill().and_then(|()| self.0.child.wait()).expect("it was ours to end");
    }
}

/// Both sides on a database of their own.
pub(crate) struct Both {
    pub(crate) go: Go,
    pub(crate) store: RedisStore,
    pub(crate) env: Env,
    pub(crate) server: ServerId,
    claims: u64,
    pub(crate) url: String,
}

impl Both {
    pub(crate) async fn open() -> Option<Self> {
        let url = servers::database_url();
        let go = Go::start(&url)?;
        let env = Env::system();
        let store = RedisStore::open(&url, env.clone()).await.expect("open");
        let server = env.new_server_id();
        Some(Self { go, store, env, server, claims: 0, url })
    }

    pub(crate) async fn add(&self, kind: &str, options: JobOptions) -> JobId {
        let job = job(kind).options(options.queue("q")).build(&self.env);
        let id = job.spec.id.clone();
        assert_eq!(self.store.enqueue(vec![job]).await.expect("enqueue"), [Enqueued::New(id.clone())]);
        id
    }

    pub(crate) async fn claim(&mut self) -> Vec<Claimed> {
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

    pub(crate) async fn claim_one(&mut self) -> Claimed {
        let mut jobs = self.claim().await;
        assert_eq!(jobs.len(), 1);
        jobs.remove(0)
    }

    pub(crate) async fn finish(&self, lease: Lease, verdict: Verdict) -> Finished {
        let result = Some("done by rust".into());
        let ran = Duration::from_millis(5);
        let finish = Finish { lease, verdict, error: None, result, then: Vec::new(), ran, news: Vec::new() };
        self.store.finish(vec![finish]).await.expect("finish").remove(0)
    }

    pub(crate) async fn record(&self, id: &JobId) -> JobRecord {
        self.store.get(id).await.expect("get").expect("the job is there")
    }

    /// Waits until the job is in this state: up to ten seconds.
    pub(crate) async fn until(&self, id: &JobId, state: State) -> JobRecord {
        for _ in 0..1000 {
            if let Some(job) = self.store.get(id).await.expect("get").filter(|job| job.state == state) {
                return job;
            }
            self.env.sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} does not become {state}: {:?}", self.store.get(id).await);
    }
}

pub(crate) fn id(text: &str) -> JobId {
    text.parse().expect("an id")
}

pub(crate) fn queue() -> QueueName {
    QueueName::new("q").expect("a queue")
}

/// Both sides, or the end of the test where Go is missing.
macro_rules! both {
    () => {
        match $crate::Both::open().await {
            Some(both) => both,
            None => return,
        }
    };
}
pub(crate) use both;
