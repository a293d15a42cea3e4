//! The measurements: their figures have every field, and delivery is exact. The figures themselves are for people.

use crate::support::{Place, bare, feed, fields, on_each_store, run};

on_each_store! {
    a_store_that_is_named_is_left_without_jobs_of_ours
}

#[test]
fn every_phase_gives_its_figures_with_exact_delivery() {
    let answer = run(&["bench", "--jobs", "300", "--concurrency", "4,8", "--callers", "3"]).expect(0).json();
    let items = answer["items"].as_array().unwrap();
    let phases: Vec<&str> = items.iter().map(|item| item["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["enqueue", "bulk", "drain", "drain", "latency", "latency"]);
    for item in items {
        let wanted = [
            "concurrency",
            "cpu_us_per_job",
            "delivery",
            "durability",
            "jobs",
            "p50_ms",
            "p99_ms",
            "peak_rss_bytes",
            "phase",
            "rate",
            "seconds",
            "store",
            "store_cpu_us_per_job",
        ];
        assert_eq!(fields(item), wanted);
        assert_eq!(fields(&item["delivery"]), ["enqueued", "finished", "lost", "twice"]);
        let delivery = |name: &str| item["delivery"][name].as_u64().unwrap();
        assert_eq!([delivery("enqueued"), delivery("lost"), delivery("twice")], [300, 0, 0]);
        assert_eq!(item["store"], "sqlite");
        assert!(item["rate"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn another_process_can_enqueue_what_is_timed() {
    let args = ["bench", "--phase", "latency", "--jobs", "30", "--from-process"];
    let item = run(&args).expect(0).json()["items"][0].clone();
    assert_eq!((&item["delivery"]["finished"], &item["delivery"]["twice"]), (&30.into(), &0.into()), "{item}");
    assert!(item["p99_ms"].as_f64().unwrap() > 0.0);
    let error = run(&[&args[..], &["--store", "memory:"]].concat()).expect(2).error();
    assert!(error["message"].as_str().unwrap().contains("memory"), "{error}");
}

fn a_store_that_is_named_is_left_without_jobs_of_ours(place: Place) {
    let mine = place.enqueue("mine", &[]);
    place.run(&["bench", "--jobs", "50", "--phase", "bulk"]).expect(0);
    let drained = place.run(&["bench", "--jobs", "50", "--phase", "drain", "--backlog", "100"]).expect(0).json();
    assert_eq!(drained["items"][0]["delivery"]["finished"], 50);
    let stats = place.run(&["stats"]).expect(0).json();
    assert_eq!((&stats["pending"], &stats["by_queue"]["bench"]["pending"]), (&1.into(), &0.into()));
    assert_eq!(place.job(&mine)["state"], "pending");
}

#[test]
fn people_get_a_table_and_bad_numbers_are_refused() {
    let answer = feed(bare(&["bench", "--store", "memory:", "--jobs", "1000", "--phase", "drain"]), b"").expect(0);
    assert!(answer.stdout.contains("CPU US/JOB") && answer.stdout.contains("exact"), "{answer:?}");
    for args in [&["--jobs", "0"][..], &["--concurrency", "0"], &["--phase", "nap"], &["--retention", "5x"]] {
        run(&[&["bench"], args].concat()).expect(2);
    }
}
