//! The rules of schedules, each as a fact. The changes of clocks are in `oracle.rs` (sixty zones against a search by
//! brute force), Asynq's flavour in `asynq.rs` (against what Go answered), ticks that are due in `due.rs`, what a look comes to in `plan.rs`.

mod asynq;
mod due;
mod fuzz;
mod lint;
mod oracle;
mod plan;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next ticks, as minutes or seconds of UTC.
fn next(spec: &ScheduleSpec, after: &str, count: usize) -> Vec<String> {
    let shown = |tick: Timestamp| tick.to_string().replace(".000000Z", "").replace(":00Z", "Z");
    spec.ticks_after(at(after)).take(count).map(shown).collect()
}

fn utc(text: &str, after: &str, count: usize) -> Vec<String> {
    next(&ScheduleSpec::parse(text).unwrap(), after, count)
}

const NEW_YEAR: &str = "2026-01-01T00:00:00Z";

#[test]
fn five_fields_tick_at_second_0_and_six_at_theirs() {
    assert_eq!(utc("30 9 * * *", NEW_YEAR, 2), ["2026-01-01T09:30:00", "2026-01-02T09:30:00"]);
    assert_eq!(utc("15 30 9 * * *", NEW_YEAR, 2), ["2026-01-01T09:30:15", "2026-01-02T09:30:15"]);
    assert_eq!(utc("0 */5 * * * *", NEW_YEAR, 2), ["2026-01-01T00:05:00", "2026-01-01T00:10:00"]);
    assert_eq!(
        utc("*/40 * * * * ?", NEW_YEAR, 3),
        ["2026-01-01T00:00:40", "2026-01-01T00:01:00", "2026-01-01T00:01:40"]
    );
}

#[test]
fn a_tick_is_strictly_later_even_within_its_second() {
    let daily = ScheduleSpec::parse("@daily").unwrap();
    assert_eq!(next(&daily, "2026-01-01T23:59:59.999999Z", 1), ["2026-01-02T00:00:00"]);
    assert_eq!(next(&daily, "2026-01-02T00:00:00Z", 1), ["2026-01-03T00:00:00"]);
    assert_eq!(next(&daily, "2026-01-02T00:00:00.000001Z", 1), ["2026-01-03T00:00:00"]);
}

#[test]
fn words_stand_for_their_fields() {
    for (word, first) in [
        ("@yearly", "2027-01-01T00:00:00"),
        ("@annually", "2027-01-01T00:00:00"),
        ("@monthly", "2026-02-01T00:00:00"),
        ("@weekly", "2026-01-04T00:00:00"),
        ("@Daily", "2026-01-02T00:00:00"),
        ("@midnight", "2026-01-02T00:00:00"),
        ("@hourly", "2026-01-01T01:00:00"),
    ] {
        assert_eq!(utc(word, NEW_YEAR, 1), [first], "{word}");
    }
}

#[test]
fn the_last_day_the_nearest_weekday_and_the_nth_day_of_the_week() {
    assert_eq!(utc("0 0 L * *", NEW_YEAR, 2), ["2026-01-31T00:00:00", "2026-02-28T00:00:00"]);
    assert_eq!(utc("0 0 L-2 2 *", NEW_YEAR, 1), ["2026-02-26T00:00:00"]);
    // The 15th of February is a Sunday, the 1st too, and the 31st of January a Saturday.
    assert_eq!(utc("0 0 15W 2 *", NEW_YEAR, 1), ["2026-02-16T00:00:00"]);
    assert_eq!(utc("0 0 1W 2,8 *", NEW_YEAR, 2), ["2026-02-02T00:00:00", "2026-08-03T00:00:00"]);
    assert_eq!(utc("0 0 31W * *", NEW_YEAR, 3), ["2026-01-30T00:00:00", "2026-03-31T00:00:00", "2026-05-29T00:00:00"]);
    assert_eq!(utc("0 0 LW * *", NEW_YEAR, 2), ["2026-01-30T00:00:00", "2026-02-27T00:00:00"]);
    assert_eq!(utc("0 0 * * FRI#2", NEW_YEAR, 2), ["2026-01-09T00:00:00", "2026-02-13T00:00:00"]);
    assert_eq!(utc("0 0 * * thu#5", NEW_YEAR, 2), ["2026-01-29T00:00:00", "2026-04-30T00:00:00"]);
    assert_eq!(utc("0 0 ? * FRIL", NEW_YEAR, 2), ["2026-01-30T00:00:00", "2026-02-27T00:00:00"]);
    assert_eq!(
        utc("0 0 * * 7L,MON#1", NEW_YEAR, 3),
        ["2026-01-05T00:00:00", "2026-01-25T00:00:00", "2026-02-02T00:00:00"]
    );
}

#[test]
fn days_of_both_kinds_mean_either_unless_one_begins_with_a_star() {
    assert_eq!(utc("0 0 13 * FRI", NEW_YEAR, 3), ["2026-01-02T00:00:00", "2026-01-09T00:00:00", "2026-01-13T00:00:00"]);
    assert_eq!(utc("0 0 */13 * FRI", NEW_YEAR, 2), ["2026-02-27T00:00:00", "2026-03-27T00:00:00"]);
    assert_eq!(utc("0 0 13 * */6", NEW_YEAR, 1), ["2026-06-13T00:00:00"]);
}

#[test]
fn ranges_wrap_around() {
    assert_eq!(utc("0 22-1 * * *", NEW_YEAR, 3), ["2026-01-01T01:00:00", "2026-01-01T22:00:00", "2026-01-01T23:00:00"]);
    assert_eq!(
        utc("0 0 * * FRI-MON", NEW_YEAR, 5)[..4],
        ["2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"].map(|day| format!("{day}T00:00:00"))
    );
}

#[test]
fn every_counts_from_its_epoch_whoever_asks() {
    let every = ScheduleSpec::parse("@every 90m").unwrap();
    assert_eq!(next(&every, NEW_YEAR, 2), ["2026-01-01T01:30:00", "2026-01-01T03:00:00"]);
    let moved = every.epoch(at("2026-06-01T00:00:07Z"));
    assert_eq!(next(&moved, NEW_YEAR, 2), ["2026-01-01T00:00:07", "2026-01-01T01:30:07"]);
    assert_eq!(next(&moved, "2026-01-01T01:30:07Z", 1), ["2026-01-01T03:00:07"]);
    let code = ScheduleSpec::every(Duration::from_millis(1500)).unwrap();
    assert_eq!(ScheduleSpec::parse(&code.to_string()).unwrap().next(at(NEW_YEAR)), code.next(at(NEW_YEAR)));
}

#[test]
fn the_zone_of_the_spec_goes_before_the_one_that_is_given() {
    let spec = |text: &str| ScheduleSpec::parse(text).unwrap();
    let berlin = spec("CRON_TZ=Europe/Berlin 0 9 * * *").timezone("Asia/Jakarta").unwrap();
    assert_eq!((berlin.zone(), next(&berlin, NEW_YEAR, 1)), ("Europe/Berlin", vec!["2026-01-01T08:00:00".to_owned()]));
    let jakarta = spec("0 9 * * *").timezone("Asia/Jakarta").unwrap();
    assert_eq!(next(&jakarta, NEW_YEAR, 1), ["2026-01-01T02:00:00"]);
    assert_eq!(spec("TZ=UTC @daily").zone(), "UTC");
}

#[test]
fn dates_that_no_year_has_end_at_once_and_rare_ones_are_found() {
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31W 2 *", "0 0 L-30 4 *", "0 0 30 2 */2"] {
        let spec = ScheduleSpec::parse(never).unwrap();
        assert_eq!((spec.next(at(NEW_YEAR)), spec.ticks_after(at(NEW_YEAR)).count()), (None, 0), "{never}");
    }
    // A 29th of February on a Sunday or a Saturday; one that lies beyond 2100, which has none.
    assert_eq!(utc("0 0 29 2 */6", "2076-03-01T00:00:00Z", 2), ["2088-02-29T00:00:00", "2116-02-29T00:00:00"]);
    assert_eq!(utc("0 0 29 2 *", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00"]);
    assert_eq!(ScheduleSpec::parse("@yearly").unwrap().next(at("9999-06-01T00:00:00Z")), None);
}

#[test]
fn errors_name_the_field_and_what_is_allowed() {
    for (text, field, part) in [
        ("60 * * * *", "minute", "0-59"),
        ("0 24 * * *", "hour", "0-23"),
        ("0 0 32 * *", "day of month", "1-31"),
        ("0 0 * 13 *", "month", "JAN-DEC"),
        ("0 0 * * 8", "day of week", "SUN-SAT"),
        ("60 0 0 * * *", "second", "0-59"),
        ("0 0 * * FRI#6", "day of week", "1 to 5"),
        ("0 0 L-31 * *", "day of month", "`L-3`"),
        ("0 0,,1 * * *", "hour", "empty entry"),
        ("* * * *", "spec", "4 fields"),
        ("", "spec", "0 fields"),
        ("@fortnightly", "spec", "@weekly"),
        ("@every", "interval", "30s"),
        ("@every 500ms", "interval", "shortest"),
        ("@every 1x", "interval", "30s"),
        ("@every 40000d", "interval", "longest"),
        ("TZ=Mars/Base 0 0 * * *", "time zone", "Europe/Berlin"),
        ("TZ=UTC", "spec", "0 fields"),
    ] {
        let error = ScheduleSpec::parse(text).unwrap_err();
        assert!(error.field() == field && error.to_string().contains(part), "{text}: {error}");
    }
    assert!(ScheduleSpec::every(Duration::ZERO).is_err());
}
