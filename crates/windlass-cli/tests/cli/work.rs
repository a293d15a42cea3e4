//! The worker: drain, signals, events, per-kind settings.

use std::{
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, Place, on_each_store, run};

on_each_store! {
    a_drain_ends_when_everything_it_handles_has_ended_and_leaves_the_rest
    a_drain_waits_for_retries
    enqueue_waits_for_the_end_of_its_job
    sigterm_ends_it_cleanly_and_gives_back_what_does_not_end_in_time
    sigint_lets_a_short_job_end_and_a_second_signal_aborts
    queues_of_the_flags_go_before_those_of_the_configuration
    the_longest_prefix_wins_and_kinds_have_limits_of_their_own
}

const NOOP: &str = "[kinds.\"*\"]\nbuiltin = \"noop\"\n";

fn a_drain_ends_when_everything_it_handles_has_ended_and_leaves_the_rest(place: Place) {
    let ids: Vec<String> = (0..20).map(|_| place.enqueue("a", &["--process-in", "10ms"])).collect();
    let other = place.enqueue("other", &[]);
    let elsewhere = place.enqueue("a", &["--queue", "elsewhere"]);
    let summary = place.drain("[kinds.a]\nbuiltin = \"noop\"").json();
    assert_eq!(summary["reason"], "drained");
    assert!(ids.iter().all(|id| place.job(id)["state"] == "completed"));
    assert_eq!((&place.job(&other)["state"], &place.job(&elsewhere)["state"]), (&"pending".into(), &"pending".into()));
}

fn a_drain_waits_for_retries(place: Place) {
    let id = place.enqueue("f", &["--max-retry", "2"]);
    place.drain("[kinds.f]\nbuiltin = \"fail\"\nretry = \"fixed 20ms\"");
    let job = place.job(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&"dead".into(), &3.into()));
    assert_eq!(job["errors"].as_array().unwrap().len(), 3);
    let id = place.enqueue("p", &["--max-retry", "0"]);
    place.drain("[kinds.p]\nbuiltin = \"panic\"");
    assert_eq!(place.job(&id)["errors"][0]["class"], "panic");
}

#[test]
fn a_memory_store_is_for_a_worker_alone() {
    let place = Place::new();
    let config = place.file("config.toml", NOOP);
    run(&["work", "--store", "memory:", "--config", &config, "--drain"]).expect(0);
}

fn enqueue_waits_for_the_end_of_its_job(place: Place) {
    let worker = place.worker("[kinds.a]\nbuiltin = \"noop\"\n[kinds.f]\nbuiltin = \"fail\"", &[]);
    let job = place.run(&["enqueue", "a", "--wait", "30s"]).expect(0).json();
    assert_eq!((&job["state"], &job["retention_ms"]), (&"completed".into(), &60_000.into()));
    let job = place.run(&["enqueue", "f", "--wait", "30s", "--max-retry", "0"]).expect(1).json();
    assert_eq!(job["state"], "dead");
    worker.stop();
}

fn sigterm_ends_it_cleanly_and_gives_back_what_does_not_end_in_time(place: Place) {
    let worker = place.worker("[kinds.nap]\nbuiltin = \"sleep\"", &["--shutdown-timeout", "50ms"]);
    let long = place.enqueue("nap", &["--payload", r#"{"ms":600000}"#]);
    worker.event("started", &long);
    worker.signal(Signal::TERM);
    worker.event("released", &long);
    worker.stop_after_signal();
    let job = place.job(&long);
    assert_eq!((&job["state"], &job["attempt"], &job["crashes"]), (&"pending".into(), &1.into(), &0.into()));
    assert_eq!(place.run(&["stats"]).json()["servers"], serde_json::json!([]));
}

fn sigint_lets_a_short_job_end_and_a_second_signal_aborts(place: Place) {
    let worker = place.worker("[kinds.nap]\nbuiltin = \"sleep\"", &[]);
    let short = place.enqueue("nap", &["--payload", r#"{"ms":300}"#]);
    worker.event("started", &short);
    worker.signal(Signal::INT);
    worker.event("finished", &short);
    worker.stop_after_signal();
    assert_eq!(place.job(&short)["state"], "completed");

    let mut worker = place.worker("[kinds.nap]\nbuiltin = \"sleep\"", &[]);
    let long = place.enqueue("nap", &["--payload", r#"{"ms":600000}"#]);
    worker.event("started", &long);
    // Once the log says that it is shutting down, a second one ends it. Until it says so, more do no harm.
    worker.signal(Signal::TERM);
    while worker.child.try_wait().unwrap().is_none() {
        worker.signal(Signal::TERM);
        std::thread::yield_now();
    }
    assert_eq!(worker.wait().code(), Some(130));
}

#[test]
fn the_end_of_its_terminal_ends_it_cleanly_unless_it_is_to_outlive_it() {
    let place = Place::new();
    let config = place.file("nap.toml", "[kinds.nap]\nbuiltin = \"sleep\"");
    let plain = place.command(&["work", "--config", &config, "--shutdown-timeout", "50ms"]);
    // Whoever runs these tests may ignore it, and then so would the worker.
    let worker = Apart::start(under(&["env", "--default-signal=HUP"], &plain));
    let long = place.enqueue("nap", &["--payload", r#"{"ms":600000}"#]);
    while place.job(&long)["state"] != "running" {
        std::thread::yield_now();
    }
    worker.ends_at(Signal::HUP);
    let job = place.job(&long);
    assert_eq!((&job["state"], &job["crashes"]), (&"pending".into(), &0.into()));

    let config = place.file("config.toml", NOOP);
    let worker = Apart::start(under(&["nohup"], &place.command(&["work", "--config", &config])));
    place.run(&["enqueue", "a", "--wait", "30s"]).expect(0);
    kill_process(worker.pid, Signal::HUP).unwrap();
    place.run(&["enqueue", "a", "--wait", "30s"]).expect(0);
    worker.ends_at(Signal::TERM);
}

#[test]
fn workers_that_append_to_one_event_log_write_whole_lines() {
    let place = Place::new();
    let events = place.path("events.jsonl");
    // What a killed worker may have left.
    std::fs::write(&events, "{\"at\":\"2026-").unwrap();
    let jobs = "{\"kind\":\"a\"}\n".repeat(3000);
    place.feed(&["enqueue", "--batch", "-"], jobs.as_bytes()).expect(0);
    let config = place.file("config.toml", NOOP);
    let args = ["work", "--config", &config, "--drain", "--events", &events.display().to_string()];
    let workers = [(); 2].map(|()| place.command(&args).spawn().unwrap());
    workers.into_iter().for_each(|mut worker| assert!(worker.wait().unwrap().success()));
    let text = std::fs::read_to_string(&events).unwrap();
    let (half, whole) = text.split_once('\n').unwrap();
    assert_eq!(half, "{\"at\":\"2026-");
    let names: Vec<String> = whole
        .lines()
        // Each of the two ends the half line, if it comes first.
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line)["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.iter().filter(|name| *name == "finished").count(), 3000);
}

#[test]
fn a_quiet_worker_claims_no_more_and_goes_on_with_what_it_holds() {
    for signal in [Signal::USR1, Signal::TSTP] {
        let place = Place::new();
        let worker = place.worker("[kinds.nap]\nbuiltin = \"sleep\"", &[]);
        let held = place.enqueue("nap", &["--payload", r#"{"ms":700}"#]);
        worker.event("started", &held);
        worker.signal(signal);
        // It runs what it holds; the other worker shows that the new job could have been claimed meanwhile.
        worker.event("finished", &held);
        let fresh = place.enqueue("nap", &["--payload", r#"{"ms":1}"#]);
        let second = place.worker("[kinds.nap]\nbuiltin = \"sleep\"", &["--drain"]);
        let event = second.event("finished", &fresh);
        assert_eq!(event["id"], *fresh);
        worker.stop();
    }
}

fn queues_of_the_flags_go_before_those_of_the_configuration(place: Place) {
    let [low, default] = [place.enqueue("a", &["--queue", "low"]), place.enqueue("a", &[])];
    let config = place.file("config.toml", &format!("[queues]\ndefault = 1\n{NOOP}"));
    place
        .run(&["work", "--config", &config, "--drain", "--queue", "low=3", "--strict", "--concurrency", "2"])
        .expect(0);
    assert_eq!((&place.job(&low)["state"], &place.job(&default)["state"]), (&"completed".into(), &"pending".into()));
    place.run(&["work", "--config", &config, "--queue", "low=0"]).expect(2);
    place.run(&["work", "--config", &config, "--concurrency", "0"]).expect(2);
}

fn the_longest_prefix_wins_and_kinds_have_limits_of_their_own(place: Place) {
    let [exact, long, short] =
        ["image:big:one", "image:big:two", "image:x"].map(|kind| place.enqueue(kind, &["--max-retry", "0"]));
    place.drain(
        "[kinds.\"image:*\"]\nbuiltin = \"noop\"\n[kinds.\"image:big:*\"]\nbuiltin = \"fail\"\nconcurrency = 1\n\
         [kinds.\"image:big:one\"]\nbuiltin = \"sleep\"\ntimeout = \"1ms\"\n",
    );
    assert_eq!(place.job(&exact)["errors"][0]["class"], "timeout");
    assert_eq!((&place.job(&long)["state"], &place.job(&short)["state"]), (&"dead".into(), &"completed".into()));
}

#[test]
fn events_are_appended_to_a_file() {
    let place = Place::new();
    let events = place.path("events.jsonl");
    for _ in 0..2 {
        place.enqueue("a", &[]);
        let config = place.file("config.toml", NOOP);
        place.run(&["work", "--config", &config, "--drain", "--events", &events.display().to_string()]).expect(0);
    }
    let text = std::fs::read_to_string(&events).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\"finished\"")).count(), 2);
    let config = place.file("config.toml", NOOP);
    place.run(&["work", "--config", &config, "--drain", "--events", "/nowhere/events"]).expect(2);
}

/// A FIFO that somebody else is to read.
fn fifo(place: &Place) -> String {
    let path = place.path("events.fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.display().to_string()
}

#[test]
fn a_worker_that_waits_for_a_reader_of_its_events_still_ends_by_a_signal() {
    let place = Place::new();
    let (events, config) = (fifo(&place), place.file("config.toml", NOOP));
    let worker = Apart::start(place.command(&["work", "--config", &config, "--events", &events]));
    // The store is made before the events are opened, which waits for a reader.
    while !place.path("jobs.db-wal").exists() {
        std::thread::yield_now();
    }
    worker.ends_at(Signal::TERM);
}

#[test]
fn a_worker_whose_events_nobody_reads_still_ends_by_a_signal() {
    let place = Place::new();
    let (events, config) = (fifo(&place), place.file("config.toml", NOOP));
    // More events than a pipe holds.
    let jobs = "{\"kind\":\"a\"}\n".repeat(400);
    place.feed(&["enqueue", "--batch", "-"], jobs.as_bytes()).expect(0);
    let args = ["work", "--config", &config, "--drain", "--events", &events];
    let worker = Apart::start(place.command(&args));
    let _reader = std::fs::File::open(&events).unwrap();
    // The server has ended, and what is left is to write its events.
    while place.run(&["stats"]).expect(0).json()["removed"] != 400
        || place.run(&["stats"]).expect(0).json()["servers"] != serde_json::json!([])
    {
        assert!(worker.ended.try_recv().is_err(), "nobody has read its events");
    }
    worker.ends_at(Signal::TERM);
}

/// A command as another one runs it.
fn under(runner: &[&str], plain: &Command) -> Command {
    let mut command = Command::new(runner[0]);
    command.args(&runner[1..]).arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// A worker without events to read.
struct Apart {
    pid: Pid,
    ended: Receiver<()>,
}

impl Apart {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (pid, (sender, ended)) = (Pid::from_child(&child), channel());
        std::thread::spawn(move || {
            child.wait().unwrap();
            let _ = sender.send(());
        });
        Self { pid, ended }
    }

    #[track_caller]
    fn ends_at(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
        if self.ended.recv_timeout(PATIENCE).is_err() {
            let _ = kill_process(self.pid, Signal::KILL);
            panic!("the signal is swallowed");
        }
    }
}

#[test]
fn a_drain_of_a_store_that_is_damaged_ends_with_6_and_says_so_once() {
    let place = Place::new();
    place.enqueue("a", &[]);
    break_claims(&place);
    let config = place.file("config.toml", NOOP);
    let answer = place.run(&["work", "--config", &config, "--drain"]).expect(6);
    assert_eq!(answer.error()["code"], "corrupt", "{answer:?}");
    assert_eq!(answer.stderr.matches("the store refuses to give jobs").count(), 1, "{answer:?}");
}

/// Takes a column away that a claim needs, and nothing that opening or counting needs.
fn break_claims(place: &Place) {
    let database = rusqlite::Connection::open(place.path("jobs.db")).unwrap();
    database.execute_batch("ALTER TABLE windlass_job RENAME COLUMN timeout_us TO patience").unwrap();
}

#[test]
fn logs_are_json_when_asked_for() {
    let place = Place::new();
    let config = place.file("config.toml", NOOP);
    let output = place
        .command(&["work", "--config", &config, "--drain", "--log-format", "json"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["level"], &first["message"]), (&"INFO".into(), &"working".into()));
}
