//! Workers that are killed, frozen or taken down by their own jobs. Processes are ended by their id only.

use std::collections::BTreeSet;

use rustix::process::Signal;

use crate::support::{Place, Worker, on_each_store};

on_each_store! {
    with_one_of_three_workers_killed_every_job_completes
    a_frozen_worker_is_refused_when_it_thaws_and_no_attempt_is_burned
    a_job_that_takes_its_process_down_is_poison_after_three_deaths_and_its_neighbours_complete
}

fn with_one_of_three_workers_killed_every_job_completes(place: Place) {
    let lines: String =
        (0..300).map(|n| format!("{{\"kind\":\"nap\",\"id\":\"job-{n}\",\"payload\":{{\"ms\":20}}}}\n")).collect();
    place.feed(&["enqueue", "--batch", "-"], lines.as_bytes()).expect(0);
    let config = "lease = \"600ms\"\nconcurrency = 4\n[kinds.nap]\nbuiltin = \"sleep\"";
    let [mut victim, second, third] = [(); 3].map(|()| place.worker(config, &["--drain"]));
    victim.until(|event| event["event"] == "started");
    victim.signal(Signal::KILL);
    assert_eq!(victim.wait().code(), None);
    let mut finished = BTreeSet::new();
    for event in victim.rest().into_iter().chain(second.rest()).chain(third.rest()) {
        if event["event"] == "finished" && event["state"] == "completed" {
            let id = event["id"].as_str().unwrap().to_owned();
            assert!(finished.insert(id), "finished twice: {event}");
        }
    }
    let stats = place.run(&["stats"]).expect(0).json();
    assert_eq!((&stats["enqueued"], &stats["removed"], &stats["completed"]), (&300.into(), &300.into(), &300.into()));
    // The killed worker may have finished some whose events were still on their way.
    assert!(finished.len() > 200, "{}", finished.len());
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

fn a_frozen_worker_is_refused_when_it_thaws_and_no_attempt_is_burned(place: Place) {
    let config = "lease = \"600ms\"\n[kinds.nap]\nbuiltin = \"sleep\"";
    let frozen = place.worker(config, &[]);
    let id = place.enqueue("nap", &["--payload", r#"{"ms":1500}"#]);
    let started = frozen.event("started", &id);
    freeze(&frozen, &place);
    let second = place.worker(config, &[]);
    let rescued = second.event("rescued", &id);
    assert_eq!(rescued["attempt"], 1);
    let finished = second.event("finished", &id);
    frozen.signal(Signal::CONT);
    let stale = frozen.event("stale", &id);
    assert_eq!((&stale["fence"], &stale["attempt"]), (&started["fence"], &1.into()));
    assert_ne!(finished["fence"], started["fence"]);
    let job = place.job(&id);
    assert_eq!((&job["state"], &job["attempt"], &job["crashes"]), (&"completed".into(), &1.into(), &1.into()));
    frozen.stop();
    second.stop();
}

fn a_job_that_takes_its_process_down_is_poison_after_three_deaths_and_its_neighbours_complete(place: Place) {
    let poison = place.enqueue("bomb", &[]);
    let neighbours: Vec<String> = (0..10).map(|_| place.enqueue("nap", &["--payload", r#"{"ms":30}"#])).collect();
    let config =
        "lease = \"300ms\"\nconcurrency = 4\n[kinds.bomb]\nbuiltin = \"abort\"\n[kinds.nap]\nbuiltin = \"sleep\"";
    let mut deaths = 0;
    // A supervisor that starts the worker again each time, until it has drained everything.
    loop {
        let mut worker = place.worker(config, &["--drain"]);
        if worker.wait().success() {
            break;
        }
        deaths += 1;
        assert!(deaths <= 3, "it dies no more than three times");
    }
    assert_eq!(deaths, 3);
    let job = place.job(&poison);
    assert_eq!((&job["state"], &job["reason"], &job["crashes"]), (&"dead".into(), &"poison".into(), &3.into()));
    for id in &neighbours {
        let job = place.job(id);
        assert_eq!((&job["state"], &job["attempt"]), (&"completed".into(), &1.into()), "{job}");
    }
}
