//! Groups: jobs that wait together, the worker that makes one of them, and the operator's command.

use serde_json::json;

use crate::support::{Place, has_fields, on_each_store};

on_each_store! {
    a_group_is_listed_flushed_and_deleted
    a_worker_makes_one_job_of_a_group_with_the_array_of_its_payloads
    an_operators_flush_does_not_wait_for_the_grace_period
    a_drain_waits_for_the_groups_that_it_aggregates_and_leaves_the_others
    a_member_that_is_no_json_is_buried_and_the_others_become_their_job
    a_member_too_large_for_a_job_by_itself_is_buried
}

fn note(place: &Place, text: &str, more: &[&str]) -> String {
    let payload = format!("{text:?}");
    place.enqueue("note", &[&["--payload", &payload, "--group", "digest:ann"], more].concat())
}

fn a_group_is_listed_flushed_and_deleted(place: Place) {
    let answer = place.run(&["enqueue", "note", "--group", "digest:ann"]).expect(0).json();
    assert_eq!(answer["state"], "aggregating");
    note(&place, "hi", &["--queue", "low"]);
    let list = place.run(&["group", "list"]).expect(0).json();
    assert_eq!((list["items"].as_array().unwrap().len(), &list["next"]), (2, &json!(null)));
    let first = &list["items"][0];
    has_fields(first, "queue group size oldest_at newest_at flush_asked aggregated");
    assert_eq!(
        (&first["queue"], &first["group"], &first["size"]),
        (&json!("default"), &json!("digest:ann"), &json!(1))
    );
    assert_eq!((&first["flush_asked"], &first["aggregated"]), (&json!(false), &json!(false)));

    let page = place.run(&["group", "list", "--limit", "1"]).expect(0).json();
    let rest = place.run(&["group", "list", "--cursor", page["next"].as_str().unwrap()]).expect(0).json();
    assert_eq!(rest["items"][0]["queue"], "low");
    place.run(&["group", "list", "--cursor", "nowhere"]).expect(2);

    let asked = place.run(&["group", "flush", "default", "digest:ann"]).expect(0).json();
    assert_eq!(asked, json!({"queue": "default", "group": "digest:ann", "flush_asked": true}));
    let list = place.run(&["group", "list", "--queue", "default"]).expect(0).json();
    assert_eq!(list["items"][0]["flush_asked"], true);

    let deleted = place.run(&["group", "delete", "low", "digest:ann"]).expect(0).json();
    assert_eq!(deleted, json!({"queue": "low", "group": "digest:ann", "removed": 1}));
    for action in ["flush", "delete"] {
        let error = place.run(&["group", action, "low", "digest:ann"]).expect(4).error();
        assert!(error["help"].as_str().unwrap().contains("group list"), "{error}");
    }
    let waiting = place.run(&["job", "list", "--state", "aggregating"]).expect(0).json();
    assert_eq!(waiting["items"].as_array().unwrap().len(), 1);
    assert_eq!(place.run(&["queue", "list"]).expect(0).json()["items"][0]["by_state"]["aggregating"], 1);
}

fn a_worker_makes_one_job_of_a_group_with_the_array_of_its_payloads(place: Place) {
    let ids = [note(&place, "one", &[]), note(&place, "two", &["--process-in", "10ms"])];
    let config = "[kinds.other]\nbuiltin = \"noop\"\n[groups.\"digest:*\"]\nkind = \"digest\"\ngrace = \"1s\"";
    let worker = place.worker(config, &[]);
    let into = ids.each_ref().map(|id| place.ended(id)["flushed_into"].as_str().unwrap().to_owned());
    assert_eq!(into[0], into[1]);
    let digest = place.job(&into[0]);
    assert_eq!((&digest["kind"], &digest["payload"]), (&json!("digest"), &json!(["one", "two"])));
    let later = note(&place, "three", &[]);
    let list = place.run(&["group", "list"]).expect(0).json();
    assert_eq!(list["items"][0]["aggregated"], true, "{list}");
    assert_eq!(place.ended(&later)["state"], "completed");
    worker.stop();
}

fn an_operators_flush_does_not_wait_for_the_grace_period(place: Place) {
    let id = note(&place, "one", &[]);
    let config = "[kinds.digest]\nbuiltin = \"noop\"\n[groups.\"*\"]\nkind = \"digest\"\ngrace = \"1d\"";
    let worker = place.worker(config, &[]);
    place.run(&["group", "flush", "default", "digest:ann"]).expect(0);
    let into = place.ended(&id)["flushed_into"].as_str().unwrap().to_owned();
    worker.event("finished", &into);
    worker.stop();
}

fn a_drain_waits_for_the_groups_that_it_aggregates_and_leaves_the_others(place: Place) {
    let ours = note(&place, "one", &[]);
    let theirs = place.enqueue("note", &["--group", "other"]);
    let config = "[kinds.digest]\nbuiltin = \"noop\"\n[groups.\"digest:*\"]\nkind = \"digest\"\ngrace = \"50ms\"";
    assert_eq!(place.drain(config).json()["reason"], "drained");
    assert_eq!(place.job(&ours)["state"], "completed");
    assert_eq!(place.job(&theirs)["state"], "aggregating");
    let stats = place.run(&["stats"]).expect(0).json();
    let by_state: u64 = stats["by_state"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(stats["enqueued"].as_u64().unwrap(), by_state + stats["removed"].as_u64().unwrap());
    assert_eq!(stats["by_state"]["aggregating"], 1);
}

/// A member that no command of ours would have let in.
fn raw_note(place: &Place, id: &str, payload: &str) {
    let hour = std::time::Duration::from_secs(3600);
    let job = windlass::RawJob::new("note", payload.to_owned());
    let job = job.with(|o| o.id(id).group("digest:ann").retention(hour));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { windlass::Client::open(place.url()).await.unwrap().enqueue(job).await.unwrap() });
}

fn a_member_that_is_no_json_is_buried_and_the_others_become_their_job(place: Place) {
    let ours = note(&place, "one", &[]);
    raw_note(&place, "bad", "{\"to\":");
    let last = note(&place, "two", &[]);
    let config = "[kinds.digest]\nbuiltin = \"noop\"\n[groups.\"digest:*\"]\nkind = \"digest\"\ngrace = \"50ms\"";
    let drained = place.drain(config);
    assert_eq!(drained.json()["reason"], "drained");
    let warned = "the payload of job `bad` is no JSON, so it is buried and the others become a job without it";
    assert!(drained.stderr.contains(warned), "{}", drained.stderr);
    assert!(!drained.stderr.contains("\"to"), "a log is no place for payloads");
    let into = place.job(&ours)["flushed_into"].as_str().unwrap().to_owned();
    assert_eq!(place.job(&last)["flushed_into"], into);
    let bad = place.job("bad");
    assert_eq!((&bad["state"], &bad["reason"]), (&json!("dead"), &json!("buried")));
    // Mended, it joins the next job of its group.
    place.run(&["job", "edit", "bad", "--payload", "\"good\""]).expect(0);
    assert_eq!(place.run(&["job", "redrive", "bad"]).expect(0).json()["state"], "aggregating");
    place.drain(config);
    assert_eq!(place.job("bad")["state"], "completed");
}

fn a_member_too_large_for_a_job_by_itself_is_buried(place: Place) {
    let payload = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    let large = place.enqueue("note", &["--payload", &format!("@{}", place.file("large", &payload)), "--group", "big"]);
    let small = place.enqueue("note", &["--payload", "1", "--group", "big"]);
    let config = "[kinds.digest]\nbuiltin = \"noop\"\n[groups.big]\nkind = \"digest\"\ngrace = \"50ms\"";
    place.drain(config);
    assert_eq!(place.job(&large)["state"], "dead");
    assert_eq!(place.job(&small)["state"], "completed");
}

#[test]
fn a_group_without_a_kind_or_with_an_unknown_key_is_refused() {
    let place = Place::new();
    for (text, problem) in [
        ("[groups.a]\ngrace = \"1s\"", "kind"),
        ("[groups.a]\nkind = \"b\"\nsize = 3", "`size`"),
        ("[groups.a]\nkind = \"b\"\nmax_size = 0", "max_size"),
    ] {
        let config = place.file("c.toml", &format!("{text}\n[kinds.x]\nbuiltin = \"noop\""));
        let error = place.run(&["work", "--config", &config, "--drain"]).expect(2).error();
        assert!(error["message"].as_str().unwrap().contains(problem), "{error}");
    }
}
