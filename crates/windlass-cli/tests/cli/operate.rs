//! What operators do to jobs by hand.

use crate::support::{Place, feed, on_each_store};

on_each_store! {
    a_job_goes_through_an_operators_hands
    people_see_of_a_job_what_programs_see
    an_edit_takes_only_json_and_says_what_it_needs
    a_running_job_is_cancelled_within_its_grace
    a_paused_queue_gives_nothing_until_it_is_resumed
}

fn a_job_goes_through_an_operators_hands(place: Place) {
    let id = place.enqueue("a", &["--process-in", "1h"]);
    let state = |action: &[&str]| place.run(&[&["job"], action].concat()).expect(0).json()["state"].clone();
    assert_eq!(state(&["run", &id]), "pending");
    assert_eq!(state(&["bury", &id]), "dead");
    assert_eq!(place.job(&id)["reason"], "buried");
    assert_eq!(state(&["redrive", &id]), "pending");
    assert_eq!(state(&["edit", &id, "--payload", r#"{"new":true}"#]), "pending");
    assert_eq!(place.job(&id)["payload"]["new"], true);
    assert_eq!(state(&["edit", &id, "--process-in", "2h"]), "scheduled");
    assert_eq!(state(&["cancel", &id, "--reason", "why not"]), "cancelled");
    let removed = place.run(&["job", "delete", &id]).expect(0).json();
    assert_eq!(removed, serde_json::json!({"id": id, "state": null, "removed": true}));
}

fn people_see_of_a_job_what_programs_see(place: Place) {
    let flags = ["--header", "trace=abc", "--unique", "until_done", "--tenant", "acme", "--max-retry", "1"];
    let id = place.enqueue("f", &flags);
    place.drain("[kinds.f]\nbuiltin = \"fail\"\nretry = \"fixed 0s\"");
    let words = |id: &str| feed(place.command(&["job", "inspect", id]), b"").expect(0).stdout;
    let key = place.job(&id)["unique_key"].as_str().unwrap().to_owned();
    let facts = [("state", "dead"), ("reason", "exhausted"), ("failures", "2"), ("headers", "trace=abc")];
    for (name, value) in facts.into_iter().chain([("unique key", &*key), ("tenant", "acme")]) {
        let line = words(&id).lines().find(|line| line.starts_with(name)).map(str::to_owned);
        assert_eq!(line.as_deref().and_then(|line| line[name.len()..].trim().into()), Some(value), "{}", words(&id));
    }
    let id = place.enqueue("a", &[]);
    place.run(&["job", "cancel", &id, "--reason", "enough of it"]).expect(0);
    let told = words(&id);
    assert!(told.lines().any(|line| line.starts_with("reason ") && line.ends_with(" enough of it")), "{told}");
}

fn an_edit_takes_only_json_and_says_what_it_needs(place: Place) {
    let id = place.enqueue("a", &[]);
    place.run(&["job", "edit", &id, "--payload", "{"]).expect(2);
    place.run(&["job", "edit", &id]).expect(2);
    let big = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    place.feed(&["job", "edit", &id, "--payload", "-"], big.as_bytes()).expect(2);
}

fn a_running_job_is_cancelled_within_its_grace(place: Place) {
    let worker = place.worker("[kinds.nap]\nbuiltin = \"sleep\"", &[]);
    let id = place.enqueue("nap", &["--payload", r#"{"ms":600000}"#]);
    worker.event("started", &id);
    place.run(&["job", "delete", &id]).expect(5);
    let answer = place.run(&["job", "cancel", &id, "--reason", "enough"]).expect(0).json();
    assert_eq!(answer["state"], "running");
    let ended = place.ended(&id);
    assert_eq!((&ended["state"], &ended["reason"]), (&"cancelled".into(), &"enough".into()));
    worker.stop();
}

fn a_paused_queue_gives_nothing_until_it_is_resumed(place: Place) {
    let first = place.enqueue("a", &["--queue", "low"]);
    place.run(&["queue", "pause", "low"]).expect(0);
    let worker = place.worker("[queues]\nlow = 1\ndefault = 1\n[kinds.a]\nbuiltin = \"noop\"", &[]);
    let second = place.enqueue("a", &[]);
    worker.event("finished", &second);
    assert_eq!(place.job(&first)["state"], "pending");
    place.run(&["queue", "resume", "low"]).expect(0);
    assert_eq!(place.ended(&first)["state"], "completed");
    worker.stop();
}
