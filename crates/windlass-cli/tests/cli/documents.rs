//! The shapes of the documents: every name that scripts stand on.

use crate::support::{Place, fields, has_fields, on_each_store};

on_each_store! {
    an_enqueue_answers_id_queue_state_and_duplicate
    a_job_has_every_field_and_what_was_said_of_it
    a_list_has_items_and_next_and_pages_through_all
    queues_show_pause_weight_wait_and_states
    stats_have_every_number_and_they_add_up
    a_live_server_is_shown_with_its_numbers
    a_prune_says_how_many_it_removed
    every_event_has_its_fields
}

const JOB: &str = "id kind queue tenant state status payload headers tags priority max_retry timeout_ms deadline \
    retention_ms unique_key group attempt crashes snoozes fence progress \
    progress_message log checkpoint result errors reason flushed_into created_at updated_at \
    run_at started_at completed_at lease_until server";
const STATES: &str = "pending scheduled blocked aggregating running retrying completed dead cancelled";

fn an_enqueue_answers_id_queue_state_and_duplicate(place: Place) {
    let answer = place.run(&["enqueue", "a", "--queue", "low", "--id", "x"]).expect(0).json();
    assert_eq!(answer, serde_json::json!({"id": "x", "queue": "low", "state": "pending", "duplicate": false}));
    let answer = place.run(&["enqueue", "a", "--id", "x", "--process-in", "1h", "--queue", "low"]).expect(0).json();
    assert_eq!(answer, serde_json::json!({"id": "x", "queue": "low", "state": "pending", "duplicate": true}));
    let answer = place.run(&["enqueue", "a", "--process-in", "1h"]).expect(0).json();
    assert_eq!(answer["state"], "scheduled");
    let answer = place.run(&["enqueue", "a", "--process-at", "2020-01-01T00:00:00Z"]).expect(0).json();
    assert_eq!(answer["state"], "pending");
}

fn a_job_has_every_field_and_what_was_said_of_it(place: Place) {
    let flags = [
        "--payload",
        r#"{"b":1.50,"a":[]}"#,
        "--queue",
        "q",
        "--priority",
        "-7",
        "--max-retry",
        "3",
        "--timeout",
        "5m",
        "--deadline",
        "2100-01-01T00:00:00Z",
        "--tag",
        "t1",
        "--tag",
        "t2",
        "--tenant",
        "acme",
        "--header",
        "trace=a=b",
        "--unique",
        "until_done",
        "--id",
        "me",
        "--process-in",
        "1h",
    ];
    place.enqueue("email:send", &flags);
    let job = place.job("me");
    has_fields(&job, JOB);
    assert_eq!((&job["kind"], &job["queue"], &job["tenant"]), (&"email:send".into(), &"q".into(), &"acme".into()));
    assert_eq!((&job["priority"], &job["max_retry"], &job["timeout_ms"]), (&(-7).into(), &3.into(), &300_000.into()));
    assert_eq!((&job["retention_ms"], &job["attempt"]), (&3_600_000.into(), &0.into()));
    assert_eq!(job["headers"], serde_json::json!({"trace": "a=b"}));
    assert_eq!(job["tags"], serde_json::json!(["t1", "t2"]));
    assert_eq!((&job["state"], &job["status"]), (&"scheduled".into(), &"pending".into()));
    assert_eq!(job["deadline"], "2100-01-01T00:00:00.000000Z");
    let text = place.run(&["job", "inspect", "me"]).stdout;
    assert!(text.contains(r#""payload":{"b":1.50,"a":[]}"#), "the payload is kept as it is: {text}");
}

fn a_list_has_items_and_next_and_pages_through_all(place: Place) {
    let ids: Vec<String> = (0..7).map(|n| place.enqueue(if n % 2 == 0 { "even" } else { "odd" }, &[])).collect();
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut args = vec!["job", "list", "--limit", "3"];
        args.extend(cursor.as_ref().map(|cursor| ["--cursor", cursor.as_str()]).into_iter().flatten());
        let page = place.run(&args).expect(0).json();
        assert_eq!(fields(&page), ["items", "next"]);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        items.iter().for_each(|job| has_fields(job, JOB));
        seen.extend(items.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        match page["next"].as_i64() {
            Some(next) => cursor = Some(next.to_string()),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let count = |args: &[&str]| {
        let list = place.run(&[&["job", "list"], args].concat()).expect(0).json();
        list["items"].as_array().unwrap().len()
    };
    place.run(&["job", "cancel", &ids[0], "--reason", "no more"]).expect(0);
    assert_eq!([count(&["--kind", "odd"]), count(&["--kind", "even", "--state", "pending"])], [3, 3]);
    assert_eq!([count(&["--status", "failed"]), count(&["--state", "dead,cancelled"])], [1, 1]);
    assert_eq!([count(&["--queue", "default"]), count(&["--tag", "x"]), count(&["--tenant", "x"])], [7, 0, 0]);
    assert_eq!(place.job(&ids[0])["reason"], "no more");
}

fn queues_show_pause_weight_wait_and_states(place: Place) {
    place.enqueue("a", &[]);
    place.enqueue("a", &["--queue", "low"]);
    let paused = place.run(&["queue", "pause", "low"]).expect(0).json();
    assert_eq!(paused, serde_json::json!({"name": "low", "paused": true}));
    let list = place.run(&["queue", "list"]).expect(0).json();
    assert_eq!(fields(&list), ["items", "next"]);
    let low = list["items"].as_array().unwrap().iter().find(|queue| queue["name"] == "low").unwrap();
    assert_eq!(fields(low), ["by_state", "name", "oldest_wait_ms", "paused", "weight"]);
    has_fields(&low["by_state"], STATES);
    assert_eq!((&low["paused"], low["weight"].is_null()), (&true.into(), true));
    assert!(low["oldest_wait_ms"].is_u64());
    assert_eq!(place.run(&["queue", "resume", "low"]).expect(0).json()["paused"], false);
}

fn stats_have_every_number_and_they_add_up(place: Place) {
    for _ in 0..3 {
        place.run(&["enqueue", "a", "--tenant", "acme"]).expect(0);
    }
    place.enqueue("b", &["--process-in", "1h"]);
    place.enqueue("f", &["--max-retry", "0"]);
    place.drain("[kinds.a]\nbuiltin = \"noop\"\n[kinds.f]\nbuiltin = \"fail\"");
    let stats = place.run(&["stats", "--since", "1h"]).expect(0).json();
    has_fields(
        &stats,
        "total pending running completed failed avg_duration_ms p50_wait_ms p99_wait_ms p50_run_ms \
        p99_run_ms enqueued removed by_state by_queue servers",
    );
    has_fields(&stats["by_state"], STATES);
    has_fields(&stats["by_queue"]["default"], STATES);
    let number = |name: &str| stats[name].as_u64().unwrap();
    assert_eq!([number("pending"), number("running"), number("completed"), number("failed")], [1, 0, 3, 1]);
    assert_eq!([number("total"), number("enqueued"), number("removed")], [5, 5, 3]);
    let sum: u64 = stats["by_state"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(number("enqueued"), sum + number("removed"));
    for (by, name, completed) in [("queue", "default", 3), ("kind", "a", 3), ("tenant", "acme", 3)] {
        let stats = place.run(&["stats", "--by", by]).expect(0).json();
        let item = stats["items"].as_array().unwrap().iter().find(|item| item["name"] == name).unwrap().clone();
        assert_eq!(item["completed"], completed, "{by}: {item}");
    }
}

fn a_live_server_is_shown_with_its_numbers(place: Place) {
    let worker = place.worker("concurrency = 3\n[queues]\ndefault = 4\n[kinds.a]\nbuiltin = \"noop\"", &[]);
    let id = place.enqueue("a", &[]);
    worker.event("finished", &id);
    let stats = place.run(&["stats"]).expect(0).json();
    let server = &stats["servers"][0];
    has_fields(server, "id pid slots busy leaked");
    assert_eq!((&server["pid"], &server["slots"]), (&worker.child.id().into(), &3.into()));
    assert_eq!(place.run(&["queue", "list"]).json()["items"][0]["weight"], 4);
    worker.stop();
}

fn a_prune_says_how_many_it_removed(place: Place) {
    for state in ["cancel", "bury"] {
        let id = place.enqueue("a", &[]);
        place.run(&["job", state, &id]).expect(0);
    }
    assert_eq!(place.run(&["prune", "--older-than", "1h"]).expect(0).json(), serde_json::json!({"removed": 0}));
    let removed = place.run(&["prune", "--older-than", "0s", "--state", "dead"]).expect(0).json();
    assert_eq!(removed, serde_json::json!({"removed": 1}));
    assert_eq!(place.run(&["prune", "--older-than", "0s"]).expect(0).json()["removed"], 1);
    place.run(&["prune", "--older-than", "0s", "--state", "pending"]).expect(2);
    place.run(&["prune"]).expect(2);
}

fn every_event_has_its_fields(place: Place) {
    let id = place.enqueue("a", &[]);
    let config = "[kinds.a]\nbuiltin = \"noop\"";
    let events = place.worker(config, &["--drain"]).rest();
    let of_job: Vec<&str> =
        events.iter().filter(|event| event["id"] == *id).map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(of_job, ["claimed", "started", "finished"]);
    events.iter().for_each(|event| has_fields(event, "at event id kind queue attempt fence server"));
    assert!(events.iter().all(|event| event["fence"].is_string() && event["attempt"] == 1));
}
