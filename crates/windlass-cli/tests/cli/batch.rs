//! Payloads and batches: what is taken, what is refused, in which order it is answered.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use serde_json::Value;

use crate::support::{Place, feed, on_each_store};

on_each_store! {
    payloads_come_from_the_flag_a_file_and_stdin
    unique_jobs_are_duplicates_by_their_payload_or_its_fields
    a_batch_answers_in_order_with_bad_lines_in_their_place
    a_batch_of_many_lines_is_enqueued_whole_and_from_a_file
    whoever_writes_line_by_line_is_answered_line_by_line
}

fn payloads_come_from_the_flag_a_file_and_stdin(place: Place) {
    let file = place.file("payload.json", r#"{"from":"file"}"#);
    let payload = |argument: &str| {
        let answer = place.feed(&["enqueue", "a", "--payload", argument], br#"{"from":"stdin"}"#).expect(0);
        place.job(answer.json()["id"].as_str().unwrap())["payload"].clone()
    };
    assert_eq!(payload(r#"{"from":"flag"}"#)["from"], "flag");
    assert_eq!(payload(&format!("@{file}"))["from"], "file");
    assert_eq!(payload("-")["from"], "stdin");
    assert_eq!(payload("-5"), -5);
}

#[test]
fn a_payload_that_is_no_json_too_big_or_too_deep_is_2_and_leaves_no_store() {
    let place = Place::new();
    place.run(&["enqueue", "a", "--payload", "{"]).expect(2);
    place.run(&["enqueue", "a", "--payload", "@nowhere.json"]).expect(2);
    let big = format!("\"{}\"", "x".repeat(10 * 1024 * 1024));
    let answer = place.feed(&["enqueue", "a", "--payload", "-"], big.as_bytes()).expect(2);
    assert!(answer.error()["message"].as_str().unwrap().contains("1048576"), "{answer:?}");
    let deep = "[".repeat(500_000) + &"]".repeat(500_000);
    place.feed(&["enqueue", "a", "--payload", "-"], deep.as_bytes()).expect(2);
    place.feed(&["enqueue", "a", "--payload", "-"], "[".repeat(1_000_000).as_bytes()).expect(2);
    place.feed(&["enqueue", "a", "--payload", "@/dev/zero"], b"").expect(2);
    for flags in
        [&["--priority", "101"][..], &["--timeout", "0s"], &["--group", ""], &["--header", "x"], &["--tag", ""]]
    {
        place.run(&[&["enqueue", "a"], flags].concat()).expect(2);
    }
    place.run(&["enqueue", "a*"]).expect(2);
    assert!(!place.path("jobs.db").exists());
}

/// More bytes pass through a process than it may have memory for.
#[cfg(target_os = "linux")]
#[test]
fn input_without_end_is_refused_in_bounded_memory() {
    let place = Place::new();
    let shell = |script: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("ulimit -v 1048576; {script}"), env!("CARGO_BIN_EXE_windlass")]);
        command.env("WINDLASS_STORE", place.url());
        feed(command, b"")
    };
    let answer = shell("exec \"$0\" --json enqueue a --payload @/dev/zero").expect(2);
    assert_eq!(answer.error()["code"], "usage", "{answer:?}");
    let long = "{ head -c 1300000000 /dev/zero; echo; echo '{\"kind\":\"a\"}'; } | \"$0\" --json enqueue --batch -";
    let answers = shell(long).expect(2).lines();
    assert_eq!((&answers[0]["line"], &answers[1]["state"]), (&1.into(), &"pending".into()), "{answers:?}");
    // The control: the limit is felt.
    assert_ne!(shell("exec head -c 1300000000 /dev/zero | sort >/dev/null").code, 0);
}

fn unique_jobs_are_duplicates_by_their_payload_or_its_fields(place: Place) {
    let duplicate = |payload: &str, flags: &[&str]| {
        let answer = place.run(&[&["enqueue", "a", "--payload", payload], flags].concat()).expect(0).json();
        answer["duplicate"] == true
    };
    let whole = &["--unique", "until_done"][..];
    assert!(!duplicate(r#"{"user":{"id":1},"n":1}"#, whole));
    assert!(duplicate(r#"{"n":1,"user":{"id":1}}"#, whole));
    assert!(!duplicate(r#"{"n":2,"user":{"id":1}}"#, whole));
    let field = &["--unique", "idempotency:1h", "--unique-by", "user.id"][..];
    assert!(!duplicate(r#"{"user":{"id":1},"n":1}"#, field));
    assert!(duplicate(r#"{"user":{"id":1},"n":3}"#, field));
    assert!(!duplicate(r#"{"user":{"id":2},"n":3}"#, field));
    place.run(&["enqueue", "a", "--unique", "until_done", "--unique-by", "nope"]).expect(2);
    place.run(&["enqueue", "a", "--unique-by", "n"]).expect(2);
    place.run(&["enqueue", "a", "--unique", "idempotency:5x"]).expect(2);
}

fn a_batch_answers_in_order_with_bad_lines_in_their_place(place: Place) {
    let long = format!(r#"{{"kind":"a","payload":"{}"}}"#, "x".repeat(3 * 1024 * 1024));
    let deep = format!(r#"{{"kind":"a","payload":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let lines = [
        r#"{"kind":"a","id":"one","payload":{"n":1},"priority":5,"tags":["x"],"headers":{"k":"v"},"retention":"1h"}"#,
        "not json",
        r#"{"kind":"a","id":"two","process_in":"1h","queue":"low"}"#,
        r#"{"kind":"a","id":"one"}"#,
        r#"{"kind":"a","prority":5}"#,
        &long,
        &deep,
        "",
        r#"{"kind":"a","id":"three","unique":"until_done","tag":"t","header":"k=v"}"#,
        r#"{"kind":"","id":"four"}"#,
        r#"{"kind":"a","group":""}"#,
    ];
    let answer = place.feed(&["enqueue", "--batch", "-"], lines.join("\n").as_bytes()).expect(2);
    let answers = answer.lines();
    let shown: Vec<String> = answers
        .iter()
        .map(|answer| match answer["error"]["code"].as_str() {
            Some(_) => format!("error {}", answer["line"]),
            None => format!("{} {}", answer["id"].as_str().unwrap(), answer["duplicate"]),
        })
        .collect();
    let expected = [
        "one false",
        "error 2",
        "two false",
        "one true",
        "error 5",
        "error 6",
        "error 7",
        "three false",
        "error 10",
        "error 11",
    ];
    assert_eq!(shown, expected);
    assert!(answers[4]["error"]["message"].as_str().unwrap().contains("prority"), "{}", answers[4]);
    assert_eq!((&answers[2]["state"], &answers[2]["queue"]), (&"scheduled".into(), &"low".into()));
    assert_eq!((&place.job("one")["priority"], &place.job("three")["headers"]["k"]), (&5.into(), &"v".into()));
}

fn a_batch_of_many_lines_is_enqueued_whole_and_from_a_file(place: Place) {
    let lines: String = (0..20_000).map(|n| format!("{{\"kind\":\"a\",\"payload\":{n}}}\n")).collect();
    let file = place.file("jobs.jsonl", &lines);
    let answers = place.run(&["enqueue", "--batch", &file]).expect(0).lines();
    assert_eq!(answers.len(), 20_000);
    let stats = place.run(&["stats"]).expect(0).json();
    assert_eq!(stats["pending"], 20_000);
    let last = place.job(answers[19_999]["id"].as_str().unwrap());
    assert_eq!(last["payload"], 19_999);
    place.run(&["enqueue", "--batch", "nowhere.jsonl"]).expect(2);
    place.run(&["enqueue", "a", "--batch", &file]).expect(2);
    place.run(&["enqueue", "--batch", &file, "--queue", "low"]).expect(2);
}

fn whoever_writes_line_by_line_is_answered_line_by_line(place: Place) {
    let mut command = place.command(&["enqueue", "--batch", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 0..3 {
        writeln!(stdin, r#"{{"kind":"a","id":"job-{n}"}}"#).unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["id"], format!("job-{n}"));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_batch_goes_on_when_nobody_reads_its_answers() {
    let place = Place::new();
    let lines = "{\"kind\":\"a\"}\n".repeat(5000);
    let mut command = place.command(&["enqueue", "--batch", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(place.run(&["stats"]).json()["pending"], 5000);
    let human = feed(place.command(&["stats"]), b"").expect(0);
    assert!(human.stdout.contains("5000 pending"), "{human:?}");
}
