//! Runs the real binary on a store of its own, in a temporary folder or in a server, and workers whose events are read as
//! they happen.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::servers;

/// Long enough for a busy machine; nobody waits for it when things go well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder, and a store in it or in a server.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    url: String,
}

/// Makes of each of these facts a test on every store that processes share.
macro_rules! on_each_store {
    ($($fact:ident)*) => {
        mod on_sqlite {
            $(#[test] fn $fact() { super::$fact(crate::support::Place::new()); })*
        }
        mod on_redis {
            $(#[test] fn $fact() { super::$fact(crate::support::Place::on_redis()); })*
        }
        mod on_postgres {
            $(#[test] fn $fact() { super::$fact(crate::support::Place::on_postgres()); })*
        }
    };
}
pub(crate) use on_each_store;

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// The document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The documents on stdout, one a line.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The error document on stderr; logs stand before it.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let last = self.stderr.lines().last().unwrap_or_else(|| panic!("no error: {self:?}"));
        let document: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        document["error"].clone()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
        Self { folder, url }
    }

    pub(crate) fn on_redis() -> Self {
        Self::on(servers::redis_url())
    }

    pub(crate) fn on_postgres() -> Self {
        Self::on(servers::postgres::url())
    }

    pub(crate) fn on(url: String) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_on_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// A file with this text; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(args);
        command.env("WINDLASS_STORE", self.url()).current_dir(self.folder.path());
        command
    }

    /// Runs a command on the store, with --json.
    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.feed(args, b"")
    }

    /// The same, with something on stdin.
    pub(crate) fn feed(&self, args: &[&str], stdin: &[u8]) -> Answer {
        feed(self.command(&[&["--json"], args].concat()), stdin)
    }

    /// Enqueues a job with retention, so that it can be looked at later.
    #[track_caller]
    pub(crate) fn enqueue(&self, kind: &str, args: &[&str]) -> String {
        let answer = self.run(&[&["enqueue", kind, "--retention", "1h"], args].concat()).expect(0);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn job(&self, id: &str) -> Value {
        self.run(&["job", "inspect", id]).expect(0).json()
    }

    /// Waits for the job's end.
    #[track_caller]
    pub(crate) fn ended(&self, id: &str) -> Value {
        let answer = self.run(&["job", "wait", id, "--timeout", "30s"]);
        assert!(answer.code <= 1, "{answer:?}");
        answer.json()
    }

    /// Starts a worker with this configuration; its events are read from its stdout.
    pub(crate) fn worker(&self, config: &str, args: &[&str]) -> Worker {
        let id = std::fs::read_dir(self.folder.path()).unwrap().count();
        let config = self.file(&format!("config-{id}.toml"), config);
        let args = [&["work", "--config", &config, "--events", "/dev/stdout"], args].concat();
        let mut child = self.command(&args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    let _ = sender.send(event);
                }
            }
        });
        Worker { child, events }
    }

    /// Runs a worker until there is nothing left to do.
    #[track_caller]
    pub(crate) fn drain(&self, config: &str) -> Answer {
        let config = self.file("drain.toml", config);
        self.run(&["work", "--config", &config, "--drain"]).expect(0)
    }
}

/// The binary without a store.
pub(crate) fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.args(args).env_remove("WINDLASS_STORE");
    command
}

/// Runs a command that is made ready.
pub(crate) fn feed(mut command: Command, stdin: &[u8]) -> Answer {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut pipe, stdin) = (child.stdin.take().unwrap(), stdin.to_vec());
    // It need not be read.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the binary without a store in the environment, with --json.
pub(crate) fn run(args: &[&str]) -> Answer {
    feed(bare(&[&["--json"], args].concat()), b"")
}

/// A worker that runs. Dropped, it is killed.
pub(crate) struct Worker {
    pub(crate) child: Child,
    events: Receiver<Value>,
}

impl Worker {
    /// The next event that fits.
    #[track_caller]
    pub(crate) fn until(&self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("the worker tells of no such event");
            if fits(&event) {
                return event;
            }
        }
    }

    /// The next event of this name for this job.
    #[track_caller]
    pub(crate) fn event(&self, name: &str, id: &str) -> Value {
        self.until(|event| event["event"] == name && event["id"] == id)
    }

    /// All events until it has ended.
    pub(crate) fn rest(self) -> Vec<Value> {
        self.events.iter().collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// It has had its signal, and ends cleanly.
    #[track_caller]
    pub(crate) fn stop_after_signal(mut self) {
        assert_eq!(self.wait().code(), Some(0));
    }

    /// Ends it with SIGTERM, and cleanly.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().code(), Some(0));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The names of a document's fields.
pub(crate) fn fields(document: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

/// Every one of these fields is there.
#[track_caller]
pub(crate) fn has_fields(document: &Value, wanted: &str) {
    for field in wanted.split_whitespace() {
        assert!(document.get(field).is_some(), "`{field}` is missing in {document}");
    }
}

/// What a judge of `bench/` (an awk program with its settings) says of a history of kills and events.
pub(crate) fn judge(program: &str, settings: [&str; 2], kills: &str, events: &[&str]) -> Answer {
    let place = Place::new();
    let kills = format!("kills={}", place.file("kills", kills));
    let mut command = Command::new("awk");
    for setting in settings.into_iter().chain([&*kills]) {
        command.args(["-v", setting]);
    }
    command.args(["-f", &format!("{}/../../bench/{program}", env!("CARGO_MANIFEST_DIR"))]);
    feed(command, (events.join("\n") + "\n").as_bytes())
}

/// A history with one event replaced, or one more.
pub(crate) fn changed(history: &[&'static str], change: usize, event: &'static str) -> Vec<&'static str> {
    let mut events = history.to_vec();
    if change < events.len() {
        events[change] = event
    } else {
        events.push(event)
    }
    events
}
