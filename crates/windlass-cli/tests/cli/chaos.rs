//! The judge of `bench/chaos.sh`: it passes a good history and finds each kind of bad one.

use crate::support::{self, Answer, changed};

/// Worker `a` claims the job at second 100 and is killed at 105; `b` runs it.
const GOOD: [&str; 6] = [
    "job 1000000000000000001 claimed 100.0 a",
    "job 1000000000000000001 started 100.1 a",
    "job 1000000000000000001 rescued 112.0 b",
    "job 1000000000000000002 claimed 112.1 b",
    "job 1000000000000000002 started 112.2 b",
    "job 1000000000000000002 finished 112.3 b completed",
];

fn judge(events: &[&str]) -> Answer {
    judge_with("105.0 a\n", events)
}

fn judge_with(kills: &str, events: &[&str]) -> Answer {
    support::judge("judge.awk", ["lease=10", "within=15"], kills, events)
}

fn with(change: usize, event: &'static str) -> Vec<&'static str> {
    changed(&GOOD, change, event)
}

#[test]
fn a_good_history_passes_and_its_run_times_are_told() {
    let answer = judge(&GOOD).expect(0);
    assert!(answer.stdout.contains("1 runs of killed workers ran again, after 7.2 s"), "{answer:?}");
}

#[test]
fn every_kind_of_bad_history_is_found() {
    let bad = [
        ("I2", with(9, "job 1000000000000000002 finished 112.4 c completed")),
        ("I3", with(3, "job 1000000000000000002 claimed 99.0 b")),
        ("I4", with(2, "job 1000000000000000001 finished 112.0 a completed")),
        ("I5", with(3, "job 1000000000000000002 claimed 104.0 b")),
        ("it ran again only", with(4, "job 1000000000000000002 started 121.0 b")),
    ];
    for (what, events) in bad {
        let answer = judge(&events).expect(1);
        assert!(answer.stderr.contains(what), "{what}: {answer:?}");
    }
}

#[test]
fn a_run_whose_kills_met_nothing_shows_nothing() {
    let calm = [GOOD[3], GOOD[4], GOOD[5]];
    assert!(judge(&calm).expect(1).stderr.contains("shows nothing"));
}

#[test]
fn what_was_given_back_may_be_claimed_at_once() {
    let events = [
        "job 1000000000000000001 claimed 100.0 c",
        "job 1000000000000000001 released 101.0 c",
        "job 1000000000000000002 claimed 101.1 b",
        "job 1000000000000000002 finished 101.2 b completed",
        "other 1000000000000000001 started 104.0 a",
        "other 1000000000000000003 started 114.0 b",
    ];
    judge(&events).expect(0);
}

/// `b` takes the job and is killed at 113, before it has told of that; `c` runs it.
fn killed_untold(second_kill: &str, started: &'static str) -> Answer {
    let untold = "job 1000000000000000002 rescued 124.0 c";
    let events = [&GOOD[..3], &[untold, "job 1000000000000000003 claimed 124.1 c", started]].concat();
    judge_with(&format!("105.0 a\n{second_kill} b\n"), &events)
}

#[test]
fn a_holder_that_was_killed_before_it_could_tell_is_seen_by_its_rescue() {
    let answer = killed_untold("113.0", "job 1000000000000000003 started 124.2 c").expect(0);
    assert!(answer.stdout.contains("1 runs of killed workers ran again, after 11.2 s"), "{answer:?}");
    let late = killed_untold("113.0", "job 1000000000000000003 started 129.0 c").expect(1);
    assert!(late.stderr.contains("it ran again only 16 s"), "{late:?}");
}

/// Killed with `a` at 105 and with `b` at 113: the third run is a suspect's.
fn twice_killed(back: &'static str, alone: &'static str) -> Answer {
    let events = [&GOOD[..5], &[back, "job 1000000000000000003 claimed 127.0 c", alone]].concat();
    judge_with("105.0 a\n113.0 b\n", &events)
}

#[test]
fn a_suspect_that_waits_until_it_can_run_alone_is_not_late() {
    let back = "job 1000000000000000002 rescued 124.0 c";
    let answer = twice_killed(back, "job 1000000000000000003 started 133.0 c").expect(0);
    assert!(answer.stdout.contains("1 suspects ran again alone, 20.0 s after their kill at most"), "{answer:?}");
}

#[test]
fn a_suspect_that_is_late_in_line_is_found() {
    let back = "job 1000000000000000002 rescued 128.5 c";
    let answer = twice_killed(back, "job 1000000000000000003 started 133.0 c").expect(1);
    assert!(answer.stderr.contains("it was back in line only 15.5 s"), "{answer:?}");
}
