//! Schedules of a store: the operator's commands, the configuration, and workers that are killed and frozen while it ticks.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Place, Worker, has_fields, on_each_store};

on_each_store! {
    a_schedule_is_added_listed_paused_run_and_removed
    what_is_said_of_a_schedule_and_of_its_jobs_is_kept_and_shown
    a_worker_lets_the_schedules_of_its_configuration_tick
    each_tick_enqueues_one_job_while_workers_are_killed_and_frozen
}

const NIGHTLY: [&str; 6] = ["schedule", "add", "nightly", "--kind", "clean-up", "--cron"];

fn list(place: &Place) -> Vec<Value> {
    place.run(&["schedule", "list"]).expect(0).json()["items"].as_array().unwrap().clone()
}

fn history(place: &Place, name: &str) -> Vec<Value> {
    let page = place.run(&["schedule", "history", name, "--limit", "1000"]).expect(0).json();
    page["items"].as_array().unwrap().clone()
}

fn a_schedule_is_added_listed_paused_run_and_removed(place: Place) {
    place.run(&["migrate", "up"]);
    let more =
        ["30 2 * * *", "--timezone", "Europe/Berlin", "--overlap", "skip", "--catch-up", "all:3", "--queue", "low"];
    let added = place.run(&[&NIGHTLY[..], &more].concat()).expect(0).json();
    has_fields(
        &added,
        "name queue kind spec flavor timezone gap fold catch_up window_ms overlap jitter_ms starts ends job origin orphaned \
         attended paused next last enqueued missed buffered generation created_at updated_at tz_version",
    );
    assert_eq!((&added["origin"], &added["catch_up"]), (&json!("stored"), &json!({"all": 3})));
    assert!(added["next"].is_string());
    place.run(&["schedule", "add", "b", "--kind", "x", "--every", "5m", "--payload", r#"{"a":1}"#]).expect(0);
    let page = place.run(&["schedule", "list", "--limit", "1"]).expect(0).json();
    assert_eq!(page["items"][0]["name"], "b", "by queue and name");
    let rest = place.run(&["schedule", "list", "--cursor", page["next"].as_str().unwrap()]).expect(0).json();
    assert_eq!((&rest["items"][0]["name"], &rest["next"]), (&json!("nightly"), &json!(null)));

    assert_eq!(place.run(&["schedule", "pause", "b"]).expect(0).json(), json!({"name": "b", "paused": true}));
    assert_eq!((&list(&place)[0]["paused"], &list(&place)[0]["next"]), (&json!(true), &json!(null)));
    place.run(&["schedule", "resume", "b"]).expect(0);
    let ran = place.run(&["schedule", "run", "b"]).expect(0).json();
    let job = place.job(ran["id"].as_str().unwrap());
    assert_eq!((&job["kind"], &job["payload"]), (&json!("x"), &json!({"a": 1})));
    assert_eq!(job["headers"]["windlass-schedule"], "b");
    let events: Vec<_> = history(&place, "b").iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["run_now", "resumed", "paused", "declared"]);

    // No scheduler of Go's is there; what one would show is among the tests with Go.
    assert_eq!(place.run(&["schedule", "list", "--foreign"]).expect(0).json(), json!({"items": [], "next": null}));
    assert!(place.run(&["schedule", "list", "--foreign", "--limit", "3"]).expect(2).error()["message"].is_string());

    place.run(&["schedule", "remove", "b"]).expect(0);
    for action in ["pause", "resume", "run", "history", "remove"] {
        assert_eq!(place.run(&["schedule", action, "b"]).expect(4).error()["code"], "not_found");
    }
    let refused = |args: &[&str]| place.run(args).expect(2).error()["message"].as_str().unwrap().to_owned();
    assert!(refused(&[&NIGHTLY[..], &["61 * * * *"]].concat()).contains("minute `61`"));
    assert!(refused(&[&NIGHTLY[..], &["@daily", "--timezone", "Mars"]].concat()).contains("time zone `Mars`"));
    assert!(refused(&[&NIGHTLY[..], &["@daily", "--every", "5m"]].concat()).contains("cannot be used with"));
    assert!(refused(&[&NIGHTLY[..], &["@daily", "--payload", "{"]].concat()).contains("no JSON"));
    assert_eq!(list(&place).len(), 1);
}

fn what_is_said_of_a_schedule_and_of_its_jobs_is_kept_and_shown(place: Place) {
    place.run(&["migrate", "up"]);
    let of_jobs = ["--priority", "-3", "--max-retry", "2", "--timeout", "1m", "--retention", "1h", "--tag", "a"];
    let rules = ["CRON_TZ=Asia/Tokyo 0 9 * * *", "--starts", "2030-01-01T00:00:00Z", "--ends", "2030-01-03T00:00:00Z"];
    let added = place.run(&[&NIGHTLY[..], &rules, &of_jobs].concat()).expect(0).json();
    assert_eq!((&added["timezone"], &added["next"]), (&json!("Asia/Tokyo"), &json!("2030-01-01T00:00:00.000000Z")));
    let job = &added["job"];
    assert_eq!((&job["priority"], &job["max_retry"], &job["timeout_ms"]), (&json!(-3), &json!(2), &json!(60_000)));
    assert_eq!((&job["retention_ms"], &job["tags"]), (&json!(3_600_000), &json!(["a"])));
    let next = place.run(&["schedule", "next", "--name", "nightly"]).expect(0).json();
    let ticks: Vec<_> = next["items"].as_array().unwrap().iter().map(|tick| tick["local"].clone()).collect();
    assert_eq!(ticks, ["2030-01-01T09:00:00+09:00", "2030-01-02T09:00:00+09:00", "2030-01-03T09:00:00+09:00"]);
    assert_eq!(next["next"], json!(null));
    assert_eq!(place.run(&["schedule", "next", "--name", "other"]).expect(4).error()["code"], "not_found");

    let often = place.run(&["schedule", "add", "often", "--kind", "x", "--cron", "* 0 * * *"]).expect(0);
    assert!(often.stderr.contains("warning: it runs 60 times"), "{}", often.stderr);
    let refused = |args: &[&str]| {
        let add = ["schedule", "add", "c", "--kind", "x"];
        place.run(&[&add[..], args].concat()).expect(2).error()["message"].as_str().unwrap().to_owned()
    };
    assert!(refused(&[]).contains("neither `cron` nor `every`"));
    assert!(refused(&["--every", "5m", "--timezone", "Asia/Tokyo"]).contains("goes by no clock"));
    assert!(refused(&["--cron", "@daily", "--flavor", "asynq", "--gap", "skip"]).contains("rules of its own"));
    assert!(refused(&["--cron", "@daily", "--jitter", "99d"]).contains("at most a day"));
}

fn a_worker_lets_the_schedules_of_its_configuration_tick(place: Place) {
    let config = "[kinds.tick]\nbuiltin = \"noop\"\n[[schedules]]\nname = \"often\"\nevery = \"1s\"\nkind = \"tick\"\n\
                  payload = { deep = [1], at = 2026-01-01T00:00:00Z }\noverlap = \"buffer_one\"\nretention = \"1h\"";
    let worker = place.worker(config, &[]);
    let finished = worker.until(|event| event["event"] == "finished" && event["kind"] == "tick");
    assert!(finished["id"].as_str().unwrap().starts_with("often/1/"));
    let shown = &list(&place)[0];
    assert_eq!(
        (&shown["origin"], &shown["orphaned"], &shown["job"]["payload"]),
        (&json!("config"), &json!(false), &json!("{\"at\":\"2026-01-01T00:00:00Z\",\"deep\":[1]}"))
    );
    let taken = place.run(&["schedule", "add", "often", "--kind", "x", "--every", "1m"]).expect(5).error();
    assert!(taken["message"].as_str().unwrap().contains("a configuration file"), "{taken}");
    worker.stop();
    assert_eq!(list(&place)[0]["orphaned"], true);
    let twice = config.to_owned() + "\n[[schedules]]\nname = \"often\"\nevery = \"1s\"\nkind = \"tick\"";
    let file = place.file("twice.toml", &twice);
    let error = place.run(&["work", "--config", &file]).expect(2).error();
    assert!(error["message"].as_str().unwrap().contains("`often` is declared twice"), "{error}");
}

/// Stops the process where it does not hold the write lock, which nobody else would get before it goes on.
fn freeze(worker: &Worker, place: &Place) {
    if !place.is_on_sqlite() {
        return worker.signal(Signal::STOP);
    }
    let conn = rusqlite::Connection::open(place.path("jobs.db")).unwrap();
    conn.busy_timeout(std::time::Duration::from_millis(200)).unwrap();
    loop {
        worker.signal(Signal::STOP);
        if conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
            return;
        }
        worker.signal(Signal::CONT);
    }
}

/// Waits until the schedule has ticked so many times more.
fn ticks(place: &Place, more: u64) {
    let enqueued = || list(place).first().map_or(0, |shown| shown["enqueued"].as_u64().unwrap());
    let before = enqueued();
    // Each look is a process, so there are fewer than a hundred a second.
    let ticked = (0..3000).any(|_| enqueued() >= before + more);
    assert!(ticked, "it does not tick");
}

fn each_tick_enqueues_one_job_while_workers_are_killed_and_frozen(place: Place) {
    place.run(&["migrate", "up"]);
    let config = "lease = \"600ms\"\n[kinds.tick]\nbuiltin = \"noop\"\n[[schedules]]\nname = \"often\"\nevery = \"1s\"\n\
                  kind = \"tick\"\ncatch_up = \"all:1000\"";
    let mut workers = [(); 3].map(|()| place.worker(config, &[]));
    ticks(&place, 1);
    for round in 0..3 {
        freeze(&workers[round], &place);
        ticks(&place, 1);
        let killed = (round + 1) % 3;
        workers[killed].signal(Signal::KILL);
        workers[killed].wait();
        ticks(&place, 1);
        workers[round].signal(Signal::CONT);
        workers[killed] = place.worker(config, &[]);
        ticks(&place, 1);
    }
    workers.into_iter().for_each(Worker::stop);
    let history = history(&place, "often");
    let mut started: Vec<String> =
        history.iter().filter_map(|event| Some(event["tick"].as_str()?.to_owned())).collect();
    started.reverse();
    let once: BTreeSet<&String> = started.iter().collect();
    assert_eq!(once.len(), started.len(), "a tick twice: {started:?}");
    let seconds: Vec<i64> =
        started.iter().map(|tick| tick.parse::<windlass::Timestamp>().unwrap().as_micros()).collect();
    assert!(seconds.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000), "a tick is missing: {started:?}");
    let stats = place.run(&["stats"]).expect(0).json();
    assert_eq!((&stats["enqueued"], &list(&place)[0]["enqueued"]), (&json!(started.len()), &json!(started.len())));
    assert_eq!(list(&place)[0]["missed"], json!({}));
}
