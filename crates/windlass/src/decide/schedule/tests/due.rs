//! Ticks that are due: exact counts of what runs and what is missed, and why.

use super::{
    super::{
        Flavor,
        due::{CatchUp, DueRules, MissReason, due},
    },
    *,
};

const MARK: &str = "2026-03-01T00:00:00Z";

fn hourly() -> ScheduleSpec {
    ScheduleSpec::parse("@hourly").unwrap()
}

fn rules(catch_up: CatchUp) -> DueRules {
    DueRules { catch_up, ..DueRules::default() }
}

/// The hours that run, and how many are missed for each reason.
fn decided(spec: &ScheduleSpec, rules: &DueRules, now: &str) -> (Vec<String>, Vec<(MissReason, u64)>) {
    let due = due(spec, rules, at(MARK), at(now));
    let run = due.run.iter().map(|tick| tick.to_string()[8..16].to_owned()).collect();
    (run, due.missed.iter().map(|missed| (missed.reason, missed.count)).collect())
}

#[test]
fn a_tick_on_time_runs_whatever_the_policy_says() {
    for policy in [CatchUp::Skip, CatchUp::One, CatchUp::All(3), CatchUp::All(0)] {
        assert_eq!(decided(&hourly(), &rules(policy), "2026-03-01T01:00:00Z"), (vec!["01T01:00".into()], vec![]));
        assert_eq!(decided(&hourly(), &rules(policy), "2026-03-01T01:00:10Z"), (vec!["01T01:00".into()], vec![]));
        assert_eq!(decided(&hourly(), &rules(policy), "2026-03-01T00:59:59Z"), (vec![], vec![]));
    }
}

#[test]
fn after_a_downtime_of_five_ticks_each_policy_runs_its_exact_number() {
    let now = "2026-03-01T05:30:00Z";
    let of = |policy| decided(&hourly(), &rules(policy), now);
    assert_eq!(of(CatchUp::Skip), (vec![], vec![(MissReason::Late, 5)]));
    assert_eq!(of(CatchUp::One), (vec!["01T05:00".into()], vec![(MissReason::Superseded, 4)]));
    assert_eq!(of(CatchUp::All(2)), (vec!["01T04:00".into(), "01T05:00".into()], vec![(MissReason::OverLimit, 3)]));
    assert_eq!(of(CatchUp::All(5)).0.len(), 5);
    assert_eq!(of(CatchUp::All(50)), (of(CatchUp::All(5)).0, vec![]));
    assert_eq!(of(CatchUp::All(0)), (vec![], vec![(MissReason::OverLimit, 5)]));
}

#[test]
fn one_that_is_on_time_is_the_one() {
    let now = "2026-03-01T05:00:01Z";
    let of = |policy| decided(&hourly(), &rules(policy), now);
    assert_eq!(of(CatchUp::One), (vec!["01T05:00".into()], vec![(MissReason::Superseded, 4)]));
    assert_eq!(of(CatchUp::Skip), (vec!["01T05:00".into()], vec![(MissReason::Late, 4)]));
    assert_eq!(of(CatchUp::All(1)), (vec!["01T04:00".into(), "01T05:00".into()], vec![(MissReason::OverLimit, 3)]));
}

#[test]
fn what_is_older_than_the_window_is_never_made_up_for() {
    let narrow = DueRules { window: Duration::from_secs(2 * 3600), ..rules(CatchUp::All(10)) };
    let (run, missed) = decided(&hourly(), &narrow, "2026-03-01T05:30:00Z");
    assert_eq!((run, missed), (vec!["01T04:00".into(), "01T05:00".into()], vec![(MissReason::OutOfWindow, 3)]));
}

#[test]
fn a_paused_schedule_counts_what_it_leaves_out_and_goes_on_from_there() {
    let paused = DueRules { paused: true, ..rules(CatchUp::All(10)) };
    let during = due(&hourly(), &paused, at(MARK), at("2026-03-01T03:30:00Z"));
    assert_eq!((during.run.len(), during.missed[0].reason, during.missed[0].count), (0, MissReason::Paused, 3));
    let resumed = due(&hourly(), &rules(CatchUp::All(10)), during.mark, at("2026-03-01T04:30:00Z"));
    assert_eq!((resumed.run, resumed.missed), (vec![at("2026-03-01T04:00:00Z")], vec![]));
}

#[test]
fn there_are_no_ticks_before_the_start_and_after_the_end() {
    let starts = Some(at("2026-03-01T02:00:00Z"));
    let ends = Some(at("2026-03-01T04:00:00Z"));
    let span = DueRules { starts, ends, ..rules(CatchUp::All(10)) };
    let found = due(&hourly(), &span, at(MARK), at("2026-03-01T09:00:00Z"));
    let hours = ["02", "03", "04"].map(|hour| at(&format!("2026-03-01T{hour}:00:00Z")));
    assert_eq!((&found.run[..], found.missed.len(), found.next), (&hours[..], 0, None));
    let before = due(&hourly(), &span, at(MARK), at("2026-03-01T00:30:00Z"));
    assert_eq!((before.run.len(), before.mark, before.next), (0, at(MARK), Some(hours[0])));
}

#[test]
fn a_clock_that_was_set_back_repeats_nothing() {
    let first = due(&hourly(), &rules(CatchUp::One), at(MARK), at("2026-03-01T03:00:01Z"));
    let back = due(&hourly(), &rules(CatchUp::One), first.mark, at("2026-03-01T01:00:01Z"));
    assert_eq!((back.run.len(), back.missed.len(), back.mark), (0, 0, first.mark));
    assert_eq!(back.next, Some(at("2026-03-01T04:00:00Z")));
}

#[test]
fn by_asynqs_rules_every_counts_from_the_mark_and_is_on_time() {
    let spec = ScheduleSpec::parse_as("@every 15s", Flavor::Asynq).unwrap();
    for seconds in [15, 16, 20, 25] {
        let now = at(MARK).after(Duration::from_secs(seconds));
        let found = due(&spec, &rules(CatchUp::Skip), at(MARK), now);
        let tick = at(MARK).after(Duration::from_secs(15));
        assert_eq!((found.run, found.missed, found.mark), (vec![tick], vec![], tick), "{seconds} s");
        assert_eq!(found.next, Some(at(MARK).after(Duration::from_secs(30))), "{seconds} s");
    }
    let late = due(&spec, &rules(CatchUp::All(9)), at(MARK), at(MARK).after(Duration::from_secs(61)));
    assert_eq!((late.run.len(), late.mark), (4, at(MARK).after(Duration::from_secs(60))));
}

#[test]
fn a_year_of_missed_seconds_is_decided_about_in_bounded_work() {
    let each_second = ScheduleSpec::parse("* * * * * *").unwrap();
    let now = at("2027-03-01T00:00:00Z");
    let found = due(&each_second, &rules(CatchUp::All(3)), at(MARK), now);
    // Three that are made up for, and eleven that are on time.
    assert_eq!((found.run.len(), found.run.last(), found.mark), (14, Some(&now), now));
    assert!(found.run.windows(2).all(|pair| pair[1].since(pair[0]) == Duration::from_secs(1)));
    assert!(found.missed.iter().all(|missed| !missed.exact && missed.count >= 9000), "{:?}", found.missed);
    let paused = due(&each_second, &DueRules { paused: true, ..DueRules::default() }, at(MARK), now);
    assert_eq!((paused.run.len(), paused.mark), (0, now));
}

#[test]
fn the_newest_of_a_crowd_long_ago_are_found() {
    // A day of seconds each year, and nobody looked until the end of it.
    let burst = ScheduleSpec::parse("* * * 2 3 *").unwrap();
    let wide = DueRules { window: Duration::from_secs(400 * 86_400), ..rules(CatchUp::All(5)) };
    let found = due(&burst, &wide, at(MARK), at("2027-03-01T12:00:00Z"));
    let last: Vec<String> = found.run.iter().map(|tick| tick.to_string()[..19].to_owned()).collect();
    assert_eq!(last, [55, 56, 57, 58, 59].map(|second| format!("2026-03-02T23:59:{second}")));
}

proptest::proptest! {
    #[test]
    fn each_tick_is_decided_about_once_however_often_somebody_looks(
        looks in proptest::collection::vec(0i64..7200, 1..40), policy in 0usize..6, paused in proptest::bool::ANY,
    ) {
        let spec = ScheduleSpec::parse("*/7 * * * *").unwrap();
        let all = CatchUp::All;
        let policy = [CatchUp::Skip, CatchUp::One, all(0), all(1), all(5), all(1000)][policy];
        let rules = DueRules { paused, ..rules(policy) };
        let (mut mark, mut now) = (at(MARK), at(MARK));
        let (mut run, mut missed) = (Vec::new(), 0);
        for step in looks {
            now = now.after(Duration::from_secs(step as u64));
            let found = due(&spec, &rules, mark, now);
            run.extend(found.run);
            missed += found.missed.iter().map(|missed| missed.count).sum::<u64>();
            mark = found.mark;
        }
        let all = spec.ticks_after(at(MARK)).take_while(|tick| *tick <= now).count() as u64;
        proptest::prop_assert!(run.windows(2).all(|pair| pair[0] < pair[1]));
        proptest::prop_assert_eq!(run.len() as u64 + missed, all);
    }
}
