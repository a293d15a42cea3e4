//! The doctor: what it finds, and its exit codes.

use serde_json::Value;

use crate::support::{Place, bare, feed, fields, on_each_store, run};

on_each_store! {
    jobs_in_line_without_a_server_fail
    a_kind_without_a_handler_and_a_paused_queue_are_named
    a_store_with_a_worker_for_all_that_waits_is_well
}

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check `{name}` in {document}"))
}

/// Every check of this level has advice, and only those that are not ok.
#[track_caller]
fn has_advice_where_it_is_due(document: &Value) {
    for check in document["checks"].as_array().unwrap() {
        assert_eq!(fields(check), ["advice", "found", "level", "name"]);
        assert_eq!(check["level"] == "ok", check["advice"].is_null(), "{check}");
    }
}

fn a_store_with_a_worker_for_all_that_waits_is_well(place: Place) {
    let worker = place.worker("[kinds.nap]\nbuiltin = \"sleep\"", &[]);
    let id = place.enqueue("nap", &["--payload", r#"{"ms":600000}"#]);
    worker.event("started", &id);
    let document = place.run(&["doctor"]).expect(0).json();
    for name in ["reachable", "writable", "clock", "servers", "queues", "handled", "version"] {
        assert_eq!(check(&document, name)["level"], "ok", "{document}");
    }
    // A server of tests keeps nothing, and the doctor says so.
    let durable = if place.is_on_sqlite() { "ok" } else { "warn" };
    assert_eq!(check(&document, "durability")["level"], durable, "{document}");
    has_advice_where_it_is_due(&document);
}

fn jobs_in_line_without_a_server_fail(place: Place) {
    place.enqueue("a", &[]);
    let document = place.run(&["doctor"]).expect(1).json();
    let servers = check(&document, "servers");
    assert_eq!(servers["level"], "fail");
    assert!(servers["advice"].as_str().unwrap().contains("windlass work"));
    has_advice_where_it_is_due(&document);
}

fn a_kind_without_a_handler_and_a_paused_queue_are_named(place: Place) {
    let worker = place.worker("[queues]\ndefault = 1\npaused = 1\n[kinds.a]\nbuiltin = \"noop\"", &[]);
    place.ended(&place.enqueue("a", &["--queue", "paused"]));
    place.run(&["queue", "pause", "paused"]).expect(0);
    place.enqueue("a", &["--queue", "paused"]);
    place.enqueue("other", &[]);
    place.enqueue("a", &["--queue", "elsewhere"]);
    place.enqueue("note", &["--group", "digest:ann"]);
    // Warnings: it may be a deployment that is under way.
    let document = place.run(&["doctor"]).expect(0).json();
    let (handled, queues) = (check(&document, "handled"), check(&document, "queues"));
    assert_eq!((&handled["level"], &queues["level"]), (&"warn".into(), &"warn".into()));
    let groups = check(&document, "groups");
    assert_eq!(groups["level"], "warn");
    assert!(groups["found"].as_str().unwrap().ends_with("digest:ann (queue default)"), "{groups}");
    let found = handled["found"].as_str().unwrap();
    assert!(
        found.starts_with("2 of the first 3 jobs")
            && found.contains("other (queue default)")
            && found.contains("elsewhere")
    );
    assert!(queues["found"].as_str().unwrap().contains("paused (1 in line)"));
    has_advice_where_it_is_due(&document);
    worker.stop();
}

#[test]
fn a_store_that_is_not_there_or_is_no_store_is_a_failed_check() {
    let place = Place::new();
    for store in [place.url().to_owned(), format!("sqlite:{}", place.file("notes.txt", &"no database ".repeat(100)))] {
        let document = run(&["doctor", "--store", &store]).expect(1).json();
        let reachable = check(&document, "reachable");
        assert_eq!(document["checks"].as_array().unwrap().len(), 1);
        assert_eq!(reachable["level"], "fail");
        assert!(!reachable["advice"].as_str().unwrap().is_empty());
    }
    assert!(!place.path("jobs.db").exists(), "a doctor makes no store");
}

#[test]
fn a_memory_store_and_no_store_are_refused_with_what_to_do() {
    let error = run(&["doctor", "--store", "memory:"]).expect(2).error();
    assert!(error["message"].as_str().unwrap().contains("lives and ends with one process"));
    run(&["doctor"]).expect(2);
    run(&["doctor", "--store", "gopher://x"]).expect(2);
}

#[test]
fn people_read_a_line_each_and_the_advice_below_it() {
    let place = Place::new();
    place.enqueue("a", &[]);
    let answer = feed(place.command(&["doctor"]), b"").expect(1);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    let failed = lines.iter().position(|line| line.starts_with("FAIL  servers")).unwrap();
    assert!(lines[failed + 1].trim_start().starts_with("-> start one"));
    assert!(lines[0].starts_with("ok    reachable"));
}

#[test]
fn completions_and_manual_pages_need_no_store() {
    for (shell, sign) in [("bash", "_windlass()"), ("zsh", "#compdef windlass"), ("fish", "complete -c windlass")] {
        let answer = feed(bare(&["completions", shell]), b"").expect(0);
        assert!(answer.stdout.contains(sign) && answer.stdout.contains("enqueue"), "{shell}");
    }
    feed(bare(&["completions", "abacus"]), b"").expect(2);
    let page = feed(bare(&["man"]), b"").expect(0).stdout;
    assert!(page.contains(".TH windlass 1") && page.contains("Exit codes"));
    let place = Place::new();
    let folder = place.folder.path().display().to_string();
    feed(bare(&["man", "--dir", &folder]), b"").expect(0);
    for name in ["windlass.1", "windlass-enqueue.1", "windlass-doctor.1", "windlass-job-inspect.1"] {
        assert!(place.path(name).exists(), "{name}");
    }
    // A packager's folder is made; one under a file cannot be.
    let deep = place.path("usr/share/man").display().to_string();
    feed(bare(&["man", "--dir", &deep]), b"").expect(0);
    assert!(place.path("usr/share/man/windlass.1").exists());
    feed(bare(&["man", "--dir", &format!("{deep}/windlass.1/man")]), b"").expect(2);
}
