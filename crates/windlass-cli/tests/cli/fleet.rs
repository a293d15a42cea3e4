//! The judge of `bench/fleet.sh`, a fleet of Go and Rust workers: it passes a good history and finds each kind of bad one.

use crate::support::{self, Answer, changed};

/// Worker `a` of Rust claims the job at second 100 and is killed at 105; a worker of Go runs it and is killed at 114; `b`
/// of Rust ends it.
const GOOD: [&str; 5] = [
    "job 100.0 claimed 1000000000000000001 a -",
    "job 100.1 started 1000000000000000001 a -",
    "job 112.0 started - g -",
    "job 180.0 claimed 1000000000000000002 b -",
    "job 180.2 finished 1000000000000000002 b completed",
];

fn judge(events: &[&str]) -> Answer {
    support::judge("fleet.awk", ["lease=10", "go_lease=30"], "105.0 a\n114.0 g\n", events)
}

fn with(change: usize, event: &'static str) -> Vec<&'static str> {
    changed(&GOOD, change, event)
}

#[test]
fn a_good_history_of_both_sides_passes() {
    let answer = judge(&GOOD).expect(0);
    assert!(
        answer.stdout.contains("2 runs of killed workers ran again, 7.0 s after the kill at most (of Rust)"),
        "{answer:?}"
    );
}

#[test]
fn every_kind_of_bad_history_of_both_sides_is_found() {
    let bad = [
        ("I2", with(9, "job 180.3 finished 1000000000000000002 b completed")),
        ("I2", with(9, "job 181.0 started - g -")),
        ("I3", with(3, "job 180.0 claimed 1000000000000000001 b -")),
        ("I4", with(4, "job 180.2 finished 1000000000000000001 a completed")),
        ("I5", with(2, "job 104.0 started - g -")),
        ("I5", with(3, "job 130.0 claimed 1000000000000000002 b -")),
    ];
    for (what, events) in bad {
        let answer = judge(&events).expect(1);
        assert!(answer.stderr.contains(what), "{what}: {answer:?}");
    }
    assert!(judge(&GOOD[3..]).expect(1).stderr.contains("shows nothing"));
}
