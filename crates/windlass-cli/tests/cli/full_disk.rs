//! A full disk, through the binary: what cannot be written is refused with exit code 3 and words, nobody panics, and
//! what was acknowledged completes once there is space. The disk is a small file system of this test's own; where the
//! machine allows no mount, and once everywhere, a limit on the size of files takes its place.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::{Answer, PATIENCE, Place, feed};

const BINARY: &str = env!("CARGO_BIN_EXE_windlass");
/// What a file may hold under the limit: less than any store needs.
const LIMIT: u64 = 4096;

#[test]
fn nothing_is_lost_on_a_file_system_that_is_full() {
    match Mount::try_new() {
        Some(mount) => nothing_is_lost(&Disk::Mounted(mount)),
        None => {
            eprintln!("this machine allows no mount; a limit on files stands for a full disk");
            nothing_is_lost(&Disk::Limited);
        }
    }
}

#[test]
fn nothing_is_lost_when_files_may_not_grow() {
    nothing_is_lost(&Disk::Limited);
}

fn nothing_is_lost(disk: &Disk) {
    let place = Place::new();
    let gate = place.path("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display());
    let config =
        place.file("config.toml", &format!("concurrency = 4\n[kinds.gated]\ncommand = [\"sh\", \"-c\", \"{wait}\"]"));
    let lines: String =
        (0..20).map(|n| format!("{{\"kind\":\"gated\",\"id\":\"job-{n}\",\"retention\":\"1h\"}}\n")).collect();
    feed(disk.command(&place, &["enqueue", "--batch", "-"], false), lines.as_bytes()).expect(0);
    let mut acknowledged: Vec<String> = (0..20).map(|n| format!("job-{n}")).collect();

    let mut worker = Worker::start(disk.command(
        &place,
        &["work", "--config", &config, "--drain", "--events", "/dev/stdout"],
        false,
    ));
    worker.tells("\"started\"");
    disk.fill(&worker);
    acknowledged.extend(enqueue_until_refused(disk, &place));
    // It has something to report, and cannot.
    fs::write(&gate, "").unwrap();
    worker.tells("the store is away");
    disk.make_space(&worker);
    worker.ends_well();

    for id in &acknowledged {
        let job = feed(disk.command(&place, &["--json", "job", "inspect", id], false), b"").expect(0).json();
        let seen = (&job["state"], &job["attempt"], &job["crashes"]);
        assert_eq!(seen, (&"completed".into(), &1.into(), &0.into()), "{job}");
    }
    let stats = feed(disk.command(&place, &["--json", "stats"], false), b"").expect(0).json();
    assert_eq!(stats["enqueued"], acknowledged.len(), "what was refused is not there: {stats}");
}

/// Enqueues large jobs until one is refused, as it must be, and one in a batch too. Gives those that were not.
fn enqueue_until_refused(disk: &Disk, place: &Place) -> Vec<String> {
    let large = format!("\"{}\"", "x".repeat(64 * 1024));
    let enqueue = |id: &str| {
        let args = ["--json", "enqueue", "gated", "--id", id, "--retention", "1h", "--payload", "-"];
        feed(disk.command(place, &args, true), large.as_bytes())
    };
    let mut taken = Vec::new();
    let refused = loop {
        let id = format!("large-{}", taken.len());
        match enqueue(&id) {
            Answer { code: 0, .. } => taken.push(id),
            other => break other,
        }
        assert!(taken.len() < 200, "the disk never fills");
    };
    let batch: String = (0..50).map(|_| format!("{{\"kind\":\"gated\",\"payload\":{large}}}\n")).collect();
    let batch = feed(disk.command(place, &["--json", "enqueue", "--batch", "-"], true), batch.as_bytes());
    for answer in [refused, batch] {
        let answer = answer.expect(3);
        assert_eq!(answer.error()["code"], "unavailable", "{answer:?}");
        assert!(!answer.stderr.contains("panicked"), "{answer:?}");
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("disk"), "it says what is wrong: {message}");
    }
    taken
}

/// How a disk is made full.
enum Disk {
    Mounted(Mount),
    /// No file may grow beyond [`LIMIT`].
    Limited,
}

impl Disk {
    /// The binary on a store on this disk. With `full` the limit holds from the start; a mounted disk is just full.
    fn command(&self, place: &Place, args: &[&str], full: bool) -> Command {
        let (mut command, folder) = match self {
            Disk::Mounted(mount) => (mount.enter(), mount.folder.path().to_path_buf()),
            Disk::Limited => {
                let mut command = Command::new("sh");
                // Without the signal, a write over the limit is an error like any other. `ulimit` counts 512 bytes.
                let limit = if full { format!("ulimit -S -f {};", LIMIT / 512) } else { String::new() };
                command.args(["-c", &format!("trap '' XFSZ; {limit} exec \"$0\" \"$@\"")]);
                (command, place.folder.path().to_path_buf())
            }
        };
        command.arg(BINARY).args(args).env("WINDLASS_STORE", format!("sqlite:{}", folder.join("jobs.db").display()));
        command
    }

    fn fill(&self, worker: &Worker) {
        match self {
            Disk::Mounted(mount) => mount.run("cat /dev/zero >\"$0/filler\" 2>/dev/null; test -s \"$0/filler\""),
            Disk::Limited => worker.limit(Some(LIMIT)),
        }
    }

    fn make_space(&self, worker: &Worker) {
        match self {
            Disk::Mounted(mount) => mount.run("rm \"$0/filler\""),
            Disk::Limited => worker.limit(None),
        }
    }
}

/// A file system in memory that only the processes of its mount namespace see, and that goes with them.
struct Mount {
    folder: tempfile::TempDir,
    holder: Child,
    /// The namespace has users of its own: a user who is not root made it.
    with_users: bool,
}

impl Mount {
    fn try_new() -> Option<Self> {
        [false, true].into_iter().find_map(Self::try_with)
    }

    fn try_with(with_users: bool) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.arg("--mount").args(with_users.then_some("--map-root-user"));
        command.args(["sh", "-c", "mount -t tmpfs -o size=4m,mode=777 tmpfs \"$0\" && echo ready && read _"]);
        command.arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().ok()?;
        let mut line = String::new();
        let _ = BufReader::new(holder.stdout.take()?).read_line(&mut line);
        let mount = Self { folder, holder, with_users };
        (line == "ready\n").then_some(mount)
    }

    /// A command that runs another in the namespace.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount"]);
        command.args(self.with_users.then_some(["--user", "--preserve-credentials"]).into_iter().flatten()).arg("--");
        command
    }

    fn run(&self, script: &str) {
        let folder: PathBuf = self.folder.path().into();
        assert!(self.enter().args(["sh", "-c", script]).arg(folder).status().unwrap().success(), "{script}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The end of its stdin ends it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A worker whose events and logs are read as they come. Dropped, it is killed.
struct Worker {
    child: Child,
    told: Receiver<String>,
}

impl Worker {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, told) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
        Self { child, told }
    }

    /// Waits until it says so.
    #[track_caller]
    fn tells(&mut self, what: &str) {
        loop {
            let line = self.told.recv_timeout(PATIENCE).expect("the worker says no such thing");
            assert!(!line.contains("panicked"), "{line}");
            if line.contains(what) {
                return;
            }
        }
    }

    fn ends_well(mut self) {
        let rest: Vec<String> = self.told.iter().collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{rest:?}");
        assert!(!rest.iter().any(|line| line.contains("panicked")), "{rest:?}");
    }

    fn limit(&self, current: Option<u64>) {
        let limit = Rlimit { current, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The log is no work: a worker whose stderr is full, or whose reader has gone, goes on.
#[test]
fn a_log_that_cannot_be_written_costs_its_lines_and_nothing_else() {
    let place = Place::new();
    let config = place.file("config.toml", "[kinds.a]\nbuiltin = \"noop\"\n[kinds.f]\nbuiltin = \"fail\"");
    for stderr in ["2>/dev/full", "2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}"] {
        place.feed(&["enqueue", "--batch", "-"], "{\"kind\":\"a\"}\n".repeat(20).as_bytes()).expect(0);
        place.run(&["enqueue", "f", "--max-retry", "0"]).expect(0);
        let plain = place.command(&["work", "--config", &config, "--drain", "--log-level", "debug"]);
        let words: Vec<String> = std::iter::once(plain.get_program())
            .chain(plain.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(format!("{} {stderr}", words.join(" ")));
        shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        feed(shell, b"").expect(0);
    }
    let stats = place.run(&["stats"]).expect(0).json();
    assert_eq!((&stats["removed"], &stats["by_state"]["dead"]), (&40.into(), &2.into()));
}
