//! `windlass demo` from the outside: the real binary, its worker processes, what it writes, and how it refuses.

#[path = "../../windlass/tests/servers/mod.rs"]
mod servers;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

const WINDLASS: &str = env!("CARGO_BIN_EXE_windlass");

/// A folder to run in.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(WINDLASS);
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("WINDLASS_STORE").env_remove("SMTP_URL");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the demo to its good end; its summary.
    #[track_caller]
    fn demo(&self, args: &[&str]) -> Value {
        let output = self.run(&[&["demo", "--json"], args].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// The demo is refused with this exit code; its error document.
    #[track_caller]
    fn refused(&self, code: i32, args: &[&str]) -> Value {
        let output = self.run(&[&["demo", "--json"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let last = String::from_utf8(output.stderr).unwrap().lines().last().unwrap().to_owned();
        serde_json::from_str::<Value>(&last).unwrap()["error"].clone()
    }
}

fn files(summary: &Value, part: &str) -> Vec<PathBuf> {
    let files = summary["files"].as_array().unwrap().iter().map(|file| PathBuf::from(file.as_str().unwrap()));
    files.filter(|file| file.to_str().unwrap().contains(part)).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whether a process with this id is there and has not ended.
fn lives(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn every_job_is_accounted_for_although_a_worker_is_killed() {
    let place = Place::new();
    let summary = place.demo(&[]);
    assert_eq!((number(&summary["jobs"]), number(&summary["dead"]), number(&summary["lost"])), (60, 2, 0));
    assert_eq!(number(&summary["completed"]), 58);
    assert!(number(&summary["rescued"]) >= 1, "{summary}");
    assert!(!lives(number(&summary["killed_pid"])));
    assert!(summary["dead_jobs"].as_array().unwrap().iter().all(|job| job["planned"] == true));
    agrees_with_the_store(&place, &summary);
    pictures_are_smaller_than_their_source(&place, &summary);
    mails_are_messages(&place, &summary);
    the_report_has_the_numbers(&place, &summary);
    let left: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["windlass-demo"], "nothing is written outside the folder for results");
}

fn agrees_with_the_store(place: &Place, summary: &Value) {
    let output = place.run(&["--store", "sqlite:windlass-demo/jobs.db", "stats", "--json"]);
    let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pairs = [("jobs", "enqueued"), ("completed", "completed"), ("dead", "failed"), ("retried", "retried")];
    pairs.iter().for_each(|(ours, theirs)| assert_eq!(summary[ours], stats[theirs], "{ours}"));
    assert_eq!((number(&stats["pending"]), number(&stats["running"]), number(&stats["removed"])), (0, 0, 0));
    assert_eq!(summary["dead"], stats["by_state"]["dead"]);
}

fn pictures_are_smaller_than_their_source(place: &Place, summary: &Value) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/photos");
    let pictures = files(summary, "images/");
    assert!(pictures.len() >= 29, "{pictures:?}");
    for picture in &pictures {
        let name = picture.file_name().unwrap().to_str().unwrap();
        let source = image::open(sources.join(format!("{}.jpg", name.split('-').next().unwrap()))).unwrap();
        let made = image::open(place.path(picture.to_str().unwrap())).unwrap();
        assert!(made.width().max(made.height()) <= 320, "{name}");
        assert!(made.width() * made.height() < source.width() * source.height(), "{name}");
    }
}

fn mails_are_messages(place: &Place, summary: &Value) {
    let mails = files(summary, "outbox/");
    assert_eq!(mails.len() as u64, number(&summary["by_kind"]["email:send"]["completed"]));
    for mail in &mails {
        let text = fs::read_to_string(place.path(mail.to_str().unwrap())).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an empty line ends the header");
        for name in ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"] {
            assert!(head.lines().any(|line| line.starts_with(&format!("{name}: "))), "{name} in {head}");
        }
        assert!(body.contains("Hello ") && !body.contains("{{"), "{body}");
    }
    let attached = mails.iter().filter(|mail| {
        fs::read_to_string(place.path(mail.to_str().unwrap())).unwrap().contains("Content-Type: image/jpeg")
    });
    assert_eq!(attached.count(), 20);
}

fn the_report_has_the_numbers(place: &Place, summary: &Value) {
    let html = fs::read_to_string(place.path("windlass-demo/report.html")).unwrap();
    let before_the_report = number(&summary["completed"]) - 1;
    for (id, value) in [
        ("jobs", number(&summary["jobs"])),
        ("completed", before_the_report),
        ("dead", number(&summary["dead"])),
        ("running", 1),
        ("retried", number(&summary["retried"])),
        ("rescued", number(&summary["rescued"])),
    ] {
        assert!(html.contains(&format!("<b id=\"{id}\">{value}</b>")), "{id} {value}");
    }
    assert_eq!(html.matches("<svg ").count(), 4);
    assert!(html.contains("no filter is called `sparkle`") && html.contains("the handler panicked"));
    assert!(!html.contains("src=\"http") && !html.contains("href="), "the page stands alone");
    let csv = fs::read_to_string(place.path("windlass-demo/jobs.csv")).unwrap();
    assert_eq!(csv.lines().count() as u64, number(&summary["jobs"]) + 1, "a line for each job, and the head");
}

#[test]
fn pictures_of_the_users_are_used_and_bad_ones_end_dead() {
    let place = Place::new();
    let folder = place.path("mine");
    fs::create_dir(&folder).unwrap();
    let cat = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/photos/cat.jpg");
    fs::copy(&cat, folder.join("my cat.JPG")).unwrap();
    let whole = fs::read(&cat).unwrap();
    fs::write(folder.join("cut.jpeg"), &whole[..200]).unwrap();
    fs::write(folder.join("no picture.png"), "just words").unwrap();
    let summary = place.demo(&["--images", "mine", "--dir", "out", "--jobs", "24"]);
    let dead = summary["dead_jobs"].as_array().unwrap();
    for bad in ["mine/cut.jpeg", "mine/no picture.png"] {
        let of_bad = |job: &&Value| job["about"].as_str().unwrap().starts_with(bad);
        assert!(dead.iter().any(|job| of_bad(&job)), "{bad}: {dead:?}");
        assert!(dead.iter().filter(of_bad).all(|job| job["unreadable"] != job["planned"]), "{bad}: {dead:?}");
    }
    assert!(dead.iter().any(|job| job["unreadable"] == true), "{dead:?}");
    assert!(files(&summary, "images/my_cat-").len() > 1, "{summary}");
    assert_eq!(number(&summary["jobs"]), number(&summary["completed"]) + number(&summary["dead"]));
    assert_eq!(fs::read(folder.join("my cat.JPG")).unwrap(), whole, "the user's pictures stay as they are");
}

#[test]
fn a_second_run_starts_anew_and_can_keep_the_first_database() {
    let place = Place::new();
    for args in [&["--jobs", "1"][..], &["--jobs", "3", "--keep"], &["--jobs", "2"]] {
        let summary = place.demo(args);
        assert_eq!(number(&summary["jobs"]).to_string(), args[1]);
    }
    assert!(place.path("windlass-demo/jobs-1.db").is_file());
    assert!(!place.path("windlass-demo/jobs-2.db").exists());
}

#[test]
fn people_get_a_table_on_stdout_and_the_story_on_stderr() {
    let place = Place::new();
    let output = place.run(&["demo", "--jobs", "12"]);
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("All 12 jobs are accounted for"), "{stdout}");
    assert!(stdout.contains("windlass --store sqlite:windlass-demo/jobs.db stats --json"), "{stdout}");
    assert!(stderr.contains("was killed with SIGKILL") && !stdout.contains('\x1b') && !stderr.contains('\x1b'));
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_touched() {
    let place = Place::new();
    fs::create_dir_all(place.path("empty")).unwrap();
    fs::create_dir_all(place.path("full")).unwrap();
    fs::write(place.path("full/thesis.txt"), "years").unwrap();
    let help = |error: &Value| error["help"].as_str().unwrap().to_owned();
    assert!(help(&place.refused(2, &["--images", "empty"])).contains(".jpg"));
    place.refused(2, &["--images", "nowhere"]);
    place.refused(2, &["--images", "full", "--dir", "full"]);
    assert!(help(&place.refused(2, &["--dir", "full"])).contains("--dir"));
    place.refused(3, &["--dir", "full/thesis.txt"]);
    place.refused(3, &["--dir", "full/thesis.txt/out"]);
    place.refused(2, &["--store", "memory:"]);
    place.refused(2, &["--jobs", "0"]);
    assert_eq!(fs::read_to_string(place.path("full/thesis.txt")).unwrap(), "years");
    assert!(!place.path("windlass-demo").exists());
}

#[test]
fn a_store_in_use_is_refused_and_a_new_one_is_used() {
    let place = Place::new();
    assert!(place.run(&["--store", "sqlite:mine.db", "enqueue", "a", "--payload", "{}"]).status.success());
    assert_eq!(place.refused(5, &["--store", "sqlite:mine.db"])["code"], "conflict");
    let summary = place.demo(&["--store", "sqlite:other.db", "--jobs", "4"]);
    assert_eq!(summary["store"], "sqlite:other.db");
    assert!(place.path("other.db").is_file() && !place.path("windlass-demo/jobs.db").exists());
}

#[test]
fn a_redis_is_used_and_its_password_is_shown_to_nobody() {
    let server = servers::Server::start_with("--save '' --requirepass sesame");
    let url = format!("redis://:sesame@127.0.0.1:{}/3", server.port);
    let place = Place::new();
    let mut demo = place.command(&["demo", "--jobs", "40", "--store", &url]);
    let mut demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut story = String::new();
    for line in BufReader::new(demo.stderr.take().unwrap()).lines().map_while(Result::ok) {
        if let Some((_, rest)) = line.split_once("started: process ") {
            let pid = rest.split(',').next().unwrap();
            // Where the system shows them, and unless it has ended already.
            let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(!arguments.contains("sesame"), "{arguments}");
        }
        story.push_str(&line);
    }
    let output = demo.wait_with_output().unwrap();
    assert!(output.status.success(), "{story}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("All 40 jobs are accounted for") && table.contains("redis://***@127.0.0.1"), "{table}");
    assert!(!table.contains("sesame") && !story.contains("sesame"), "{table}{story}");
    let refusal = place.refused(5, &["--store", &url]);
    assert!(!refusal.to_string().contains("sesame"), "{refusal}");
    assert!(place.run(&["--store", &url, "job", "list", "--state", "dead"]).status.success());
}

#[cfg(unix)]
mod signals {
    use std::{
        io::{BufRead, BufReader},
        process::Child,
    };

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// A demo that has started its workers; their ids.
    fn started(place: &Place) -> (Child, Vec<u64>) {
        let mut child = place.command(&["demo", "--jobs", "2000"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut workers = Vec::new();
        while workers.len() < 2 {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, rest)) = line.split_once("started: process ") {
                workers.push(rest.split(',').next().unwrap().parse().unwrap());
            }
        }
        // Nobody writes into a pipe that is closed.
        std::thread::spawn(move || lines.for_each(drop));
        (child, workers)
    }

    fn signal(child: &Child, signal: Signal) {
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Waits for the end of processes; the test's own time limit ends a wait in vain.
    fn ended(workers: &[u64]) {
        while workers.iter().any(|pid| lives(*pid)) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn ctrl_c_ends_the_workers_and_says_so() {
        let place = Place::new();
        let (mut child, workers) = started(&place);
        signal(&child, Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(workers.iter().all(|pid| !lives(*pid)));
    }

    #[test]
    fn no_worker_outlives_a_demo_that_is_killed() {
        let place = Place::new();
        let (mut child, workers) = started(&place);
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        ended(&workers);
    }

    #[test]
    fn two_demos_do_not_share_a_folder() {
        let place = Place::new();
        let (mut child, _) = started(&place);
        assert_eq!(place.refused(5, &[])["code"], "conflict");
        signal(&child, Signal::TERM);
        child.wait().unwrap();
    }
}
