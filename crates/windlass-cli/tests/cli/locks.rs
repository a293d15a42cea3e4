//! `windlass lock` on each store: commands under a lock, real processes that are frozen, told to end, or robbed of it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{Answer, Place, has_fields, on_each_store};

on_each_store! {
    a_command_runs_under_a_fence_and_ends_with_its_own_code
    a_lock_that_is_held_is_75_and_can_be_waited_for
    a_frozen_holder_is_followed_by_a_higher_fence_and_ends_with_76
    a_broken_lock_ends_its_command_with_76
    a_signal_ends_the_command_and_gives_the_lock_back
    one_who_is_told_to_stop_while_it_waits_leaves_the_line
    a_signal_at_any_moment_leaves_nothing_held
    what_makes_no_sense_is_refused
}

/// Says its fence and its process, and waits until its stdin is closed.
const HOLDS: &str = "echo $WINDLASS_FENCE $$; exec cat";

/// A store that is there.
fn made(place: &Place) {
    place.run(&["enqueue", "a"]).expect(0);
}

/// `lock run` of this script, to its end.
fn run(place: &Place, args: &[&str], script: &str) -> Answer {
    place.run(&[&["lock", "run", "nightly"], args, &["--", "sh", "-c", script]].concat())
}

#[track_caller]
fn fence(answer: &Answer) -> u64 {
    answer.stdout.trim().parse().unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// A `lock run` under way. Dropped, it is killed, and so is its command.
struct Holder {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    fence: u64,
    command: Pid,
}

impl Holder {
    fn start(place: &Place, ttl: &str) -> Self {
        let args = ["lock", "run", "nightly", "--ttl", ttl, "--", "sh", "-c", HOLDS];
        let mut child = place.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let (fence, command) = line.trim().split_once(' ').unwrap_or_else(|| panic!("it does not hold: {line:?}"));
        let command = Pid::from_raw(command.parse().unwrap()).unwrap();
        let (stdin, fence) = (child.stdin.take(), fence.parse().unwrap());
        Self { child, stdin, stdout, fence, command }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: the exit code, and what was written beside the first line.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        while self.stdout.read_line(&mut rest).unwrap() > 0 {}
        (self.child.wait().unwrap().code(), rest)
    }

    fn command_is_gone(&self) -> bool {
        test_kill_process(self.command).is_err()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = kill_process(self.command, Signal::KILL);
    }
}

fn a_command_runs_under_a_fence_and_ends_with_its_own_code(place: Place) {
    made(&place);
    let first = run(&place, &[], "echo $WINDLASS_FENCE; exit 7").expect(7);
    let second = run(&place, &[], "echo $WINDLASS_FENCE").expect(0);
    assert!(fence(&second) > fence(&first), "{first:?} {second:?}");
    // As a shell says it.
    run(&place, &[], "kill -KILL $$").expect(137);
    assert_eq!(place.feed(&["lock", "run", "nightly", "--", "cat"], b"what is said").expect(0).stdout, "what is said");
    assert_eq!(place.run(&["lock", "list"]).expect(0).json()["items"], serde_json::json!([]), "all is given back");
}

fn a_lock_that_is_held_is_75_and_can_be_waited_for(place: Place) {
    made(&place);
    let mut holder = Holder::start(&place, "10s");
    let refused = run(&place, &[], "echo never").expect(75);
    assert_eq!((&*refused.stdout, &refused.error()["code"]), ("", &"not_acquired".into()));
    run(&place, &["--wait", "100ms"], "echo never").expect(75);

    let page = place.run(&["lock", "list"]).expect(0).json();
    let lock = &page["items"][0];
    has_fields(lock, "name slots held waiting holders");
    has_fields(&lock["holders"][0], "fence holder since left_ms");
    assert_eq!((&lock["name"], &lock["held"], &lock["waiting"]), (&"nightly".into(), &1.into(), &0.into()));
    assert_eq!(lock["holders"][0]["fence"], holder.fence.to_string());
    assert!(lock["holders"][0]["left_ms"].as_u64().unwrap() <= 10_000, "{page}");
    let words = place.command(&["lock", "list"]).output().unwrap().stdout;
    assert!(String::from_utf8(words).unwrap().contains("nightly"), "people see it, too");

    let args = ["lock", "run", "nightly", "--wait", "30s", "--", "sh", "-c", "echo $WINDLASS_FENCE"];
    let waiter = place.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    drop(holder.stdin.take());
    assert_eq!(holder.end(), (Some(0), String::new()));
    let output = waiter.wait_with_output().unwrap();
    let next: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(output.status.success() && next > holder.fence);
}

fn a_frozen_holder_is_followed_by_a_higher_fence_and_ends_with_76(place: Place) {
    made(&place);
    let mut frozen = Holder::start(&place, "1s");
    frozen.signal(Signal::STOP);
    let next = run(&place, &["--wait", "30s"], "echo $WINDLASS_FENCE").expect(0);
    assert!(fence(&next) > frozen.fence);
    frozen.signal(Signal::CONT);
    assert_eq!(frozen.end(), (Some(76), String::new()));
    assert!(frozen.command_is_gone());
    // What it lost it did not give back for somebody else.
    let last = run(&place, &[], "echo $WINDLASS_FENCE").expect(0);
    assert!(fence(&last) > fence(&next));
}

fn a_broken_lock_ends_its_command_with_76(place: Place) {
    made(&place);
    let mut holder = Holder::start(&place, "1s");
    let broken = place.run(&["lock", "break", "nightly"]).expect(0).json();
    assert_eq!((&broken["name"], &broken["broken"]), (&"nightly".into(), &1.into()));
    assert_eq!(holder.end().0, Some(76));
    assert!(holder.command_is_gone());
    assert_eq!(place.run(&["lock", "break", "nightly"]).expect(4).error()["code"], "not_found");
}

fn a_signal_ends_the_command_and_gives_the_lock_back(place: Place) {
    made(&place);
    for signal in [Signal::TERM, Signal::INT] {
        let mut holder = Holder::start(&place, "1h");
        holder.signal(signal);
        // Its command was ended by SIGTERM.
        assert_eq!(holder.end().0, Some(143));
        assert!(holder.command_is_gone());
        run(&place, &[], "true").expect(0);
    }
}

/// What is held or waited for.
fn listed(place: &Place) -> serde_json::Value {
    place.run(&["lock", "list"]).expect(0).json()["items"].clone()
}

fn one_who_is_told_to_stop_while_it_waits_leaves_the_line(place: Place) {
    made(&place);
    let mut holder = Holder::start(&place, "1h");
    for signal in [Signal::TERM, Signal::INT] {
        let args = ["lock", "run", "nightly", "--wait", "1h", "--", "true"];
        let waiter = place.command(&args).stderr(Stdio::piped()).spawn().unwrap();
        while listed(&place)[0]["waiting"] != 1 {}
        kill_process(Pid::from_child(&waiter), signal).unwrap();
        let output = waiter.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(75), "{said}");
        assert!(said.contains("told to stop before"), "{said}");
        assert_eq!(listed(&place)[0]["waiting"], 0);
    }
    drop(holder.stdin.take());
    assert_eq!(holder.end().0, Some(0));
}

fn a_signal_at_any_moment_leaves_nothing_held(place: Place) {
    made(&place);
    let (_never, never) = mpsc::channel::<()>();
    for moment in 0..20 {
        let args = ["lock", "run", "nightly", "--ttl", "1h", "--", "true"];
        let mut child = place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The moment at which it is told to stop is what is varied here.
        let _ = never.recv_timeout(Duration::from_millis(2 * moment));
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        child.wait().unwrap();
        assert_eq!(listed(&place), serde_json::json!([]), "a signal after {} ms", 2 * moment);
    }
}

fn what_makes_no_sense_is_refused(place: Place) {
    made(&place);
    place.run(&["lock", "run", "nightly"]).expect(2);
    place.run(&["lock", "run", "nightly", "--ttl", "1ms", "--", "true"]).expect(2);
    place.run(&["lock", "run", "a{b", "--", "true"]).expect(2);
    place.run(&["lock", "run", "nightly", "--", "/no/such/program"]).expect(2);
    place.run(&["lock", "break", ""]).expect(2);
    // What could not be run holds nothing.
    assert_eq!(place.run(&["lock", "list"]).expect(0).json()["items"], serde_json::json!([]));
    let nowhere = Place::new();
    nowhere.run(&["lock", "run", "nightly", "--", "true"]).expect(3);
}
