//! Commands as handlers: what they get, what their exit codes mean, and that nothing of them outlives the run.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use rustix::process::{Pid, Signal, test_kill_process};

use crate::support::{Place, on_each_store};

on_each_store! {
    a_command_gets_payload_and_facts_and_its_last_line_is_the_result
    code_65_buries_and_the_end_of_stderr_is_the_error
    code_75_snoozes_as_long_as_the_last_line_says_and_burns_nothing
}

fn shell(script: &str) -> String {
    format!("[kinds.c]\ncommand = [\"sh\", \"-c\", '''{script}''']\nretry = \"fixed 0s\"\n")
}

fn a_command_gets_payload_and_facts_and_its_last_line_is_the_result(place: Place) {
    let flags =
        ["--payload", r#"{"n":1}"#, "--tenant", "acme", "--max-retry", "7", "--deadline", "2100-01-01T00:00:00Z"];
    let id = place.enqueue("c", &flags);
    let facts =
        "$WINDLASS_JOB_ID $WINDLASS_KIND $WINDLASS_QUEUE $WINDLASS_TENANT $WINDLASS_ATTEMPT $WINDLASS_MAX_RETRY";
    place.drain(&shell(&format!(
        "echo chatter; test $WINDLASS_FENCE -gt 0 && echo \\\"$(cat) {facts} $WINDLASS_DEADLINE\\\" | tr -d {{}}"
    )));
    let job = place.job(&id);
    assert_eq!(job["state"], "completed", "{job}");
    let result = job["result"].to_string();
    for fact in ["n", &id, " c default acme 1 7 2100-01-01T00:00:00.000000Z"] {
        assert!(result.contains(fact), "`{fact}` is missing in {result}");
    }
}

#[test]
fn a_result_that_is_json_stays_json_and_an_empty_one_is_none() {
    let place = Place::new();
    let [json, none] = ["{\"done\":[1,2]}", ""].map(|text| place.enqueue("c", &["--payload", &format!("{text:?}")]));
    place.drain("[kinds.c]\ncommand = [\"sh\", \"-c\", \"read -r p; echo log >&2; test \\\"$p\\\" = '\\\"\\\"' || echo '{\\\"done\\\":[1,2]}'\"]");
    assert_eq!(place.job(&json)["result"], serde_json::json!({"done": [1, 2]}));
    assert!(place.job(&none)["result"].is_null());
}

fn code_65_buries_and_the_end_of_stderr_is_the_error(place: Place) {
    let id = place.enqueue("c", &[]);
    place.drain(&shell("echo first >&2; echo no such user >&2; exit 65"));
    let job = place.job(&id);
    assert_eq!((&job["state"], &job["reason"], &job["attempt"]), (&"dead".into(), &"buried".into(), &1.into()));
    assert_eq!(job["errors"][0]["message"], "exit code 65: first\nno such user");
}

fn code_75_snoozes_as_long_as_the_last_line_says_and_burns_nothing(place: Place) {
    let marker = place.path("once").display().to_string();
    let id = place.enqueue("c", &[]);
    place.drain(&shell(&format!("test -e {marker} && exit 0; touch {marker}; echo retry-after 50ms; exit 75")));
    let job = place.job(&id);
    assert_eq!((&job["state"], &job["snoozes"], &job["attempt"]), (&"completed".into(), &1.into(), &1.into()));
    assert_eq!(job["errors"], serde_json::json!([]));

    let id = place.enqueue("c", &[]);
    let worker = place.worker(&shell("exit 75"), &[]);
    worker.event("finished", &id);
    worker.stop();
    let job = place.job(&id);
    assert_eq!((&job["state"], &job["snoozes"]), (&"scheduled".into(), &1.into()));
}

#[test]
fn a_retry_after_that_cannot_be_read_is_told_and_ten_seconds() {
    let place = Place::new();
    let id = place.enqueue("c", &[]);
    let config = place.file("config.toml", &shell("echo retry-after soon; exit 75"));
    let mut worker = place.command(&["work", "--config", &config]).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(worker.stderr.take().unwrap()).lines();
    let told = log.map_while(Result::ok).find(|line| line.contains("retry-after")).unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(told.contains(&id) && told.contains("500ms, 10s, 5m, 1h or 2d"), "{told}");
}

#[test]
fn what_a_command_leaves_behind_ends_with_its_run() {
    let place = Place::new();
    let child = place.path("child").display().to_string();
    let id = place.enqueue("c", &[]);
    // It holds nothing of the command's open.
    place.drain(&shell(&format!(
        "sh -c 'echo $$ > {child}.new; mv {child}.new {child}; exec sleep 3600' </dev/null >/dev/null 2>&1 & \
         until test -e {child}; do :; done"
    )));
    assert_eq!(place.job(&id)["state"], "completed");
    assert!(is_gone(&child));
}

#[test]
fn other_codes_signals_and_missing_programs_are_failed_attempts() {
    let place = Place::new();
    let once = &["--max-retry", "1"][..];
    let ids = ["c", "killed", "missing"].map(|kind| place.enqueue(kind, once));
    let more = "[kinds.killed]\ncommand = [\"sh\", \"-c\", \"kill -9 $$\"]\nretry = \"fixed 0s\"\n\
        [kinds.missing]\ncommand = [\"/nowhere/program\"]\nretry = \"fixed 0s\"\n";
    place.drain(&(shell("echo attempt $WINDLASS_ATTEMPT >&2; exit 3") + more));
    let [failed, killed, missing] = ids.map(|id| place.job(&id));
    assert_eq!(
        (&failed["state"], &failed["reason"], &failed["attempt"]),
        (&"dead".into(), &"exhausted".into(), &2.into())
    );
    assert_eq!(failed["errors"][1]["message"], "exit code 3: attempt 2");
    assert_eq!(killed["errors"][0]["message"], "ended by signal 9 (SIGKILL)");
    let message = missing["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("`/nowhere/program` cannot be started"), "{message}");
}

#[test]
fn a_command_may_ignore_its_payload_and_write_without_end() {
    let place = Place::new();
    let big = format!("\"{}\"", "x".repeat(900_000));
    let file = place.file("big.json", &big);
    let id = place.enqueue("c", &["--payload", &format!("@{file}")]);
    place.drain(&shell("head -c 30000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo; echo end"));
    assert_eq!(place.job(&id)["result"], "end");
    let id = place.enqueue("c", &[]);
    place.drain(&shell("head -c 100000 /dev/zero"));
    let job = place.job(&id);
    assert_eq!((&job["state"], job["result"].is_null()), (&"completed".into(), true), "too long for a result");
}

#[test]
fn a_timeout_ends_the_whole_process_group() {
    let place = Place::new();
    let child = place.path("child").display().to_string();
    let id = place.enqueue("c", &["--max-retry", "0"]);
    // The child stands in for what a command starts; both would run for an hour.
    let script = format!("sh -c 'echo $$ > {child}; exec sleep 3600' & wait");
    place.drain(&(shell(&script) + "timeout = \"500ms\"\n"));
    let job = place.job(&id);
    assert_eq!((&job["state"], &job["errors"][0]["class"]), (&"dead".into(), &"timeout".into()));
    assert!(is_gone(&child));
}

#[test]
fn one_that_ignores_sigterm_is_killed_after_the_grace() {
    let place = Place::new();
    let child = place.path("child").display().to_string();
    let script = format!("trap \"\" TERM; echo $$ > {child}; sleep 3600 & wait; wait");
    let worker = place.worker(&shell(&script), &["--shutdown-timeout", "0s"]);
    let id = place.enqueue("c", &[]);
    worker.event("started", &id);
    // The shell is in its own time; before it has set its trap it would end as it is asked to.
    while fs::read_to_string(&child).unwrap_or_default().trim().is_empty() {
        std::thread::yield_now();
    }
    worker.signal(Signal::TERM);
    worker.event("released", &id);
    assert!(is_gone(&child), "killed at shutdown");
    assert_eq!((&place.job(&id)["state"], &place.job(&id)["attempt"]), (&"pending".into(), &1.into()));
}

/// Whether the process whose id stands in the file is gone, or only waits to be reaped by whoever has it now.
fn is_gone(file: &str) -> bool {
    let text = fs::read_to_string(file).unwrap();
    let id = text.trim().parse::<i32>().unwrap();
    let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    test_kill_process(Pid::from_raw(id).unwrap()).is_err() || state.contains(") Z ") || state.contains(") X ")
}
