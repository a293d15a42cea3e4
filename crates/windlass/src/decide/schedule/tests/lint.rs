//! What specs are warned of, and which are not.

use super::*;

fn codes(spec: ScheduleSpec) -> Vec<&'static str> {
    spec.lint(at(NEW_YEAR)).into_iter().map(|warning| warning.code).collect()
}

fn of(text: &str) -> Vec<&'static str> {
    codes(ScheduleSpec::parse(text).unwrap())
}

#[test]
fn sixty_runs_at_midnight_earn_a_warning() {
    for flavor in [Flavor::Windlass, Flavor::Asynq] {
        let warnings = ScheduleSpec::parse_as("* 0 * * *", flavor).unwrap().lint(at(NEW_YEAR));
        assert_eq!(warnings[0].code, "many_runs");
        assert!(warnings[0].message.contains("60 times") && warnings[0].message.contains("`0 0 * * *`"));
    }
    assert_eq!([of("* 30 9 * * *"), of("* */12 * * *"), of("* 9-17 * * *")], [["many_runs"]; 3]);
    assert_eq!([of("* * * * *"), of("* * * * * *"), of("0 0 * * *"), of("*/5 0 * * *")], [[""; 0]; 4]);
}

#[test]
fn dates_that_never_come_or_not_each_month_earn_a_warning() {
    assert_eq!([of("0 0 30 2 *"), of("0 0 31 4 *")], [["never"], ["never"]]);
    assert_eq!([of("0 0 31 * *"), of("0 0 29 2 *"), of("0 0 29,30 * *")], [["missing_months"]; 3]);
    assert_eq!([of("0 0 31 1 *"), of("0 0 L * *"), of("0 0 1,31 * *"), of("@monthly")], [[""; 0]; 4]);
    let asynq = ScheduleSpec::parse_as("0 0 30 2 *", Flavor::Asynq).unwrap();
    assert_eq!(codes(asynq), ["never"]);
}

#[test]
fn steps_that_do_not_divide_earn_a_warning() {
    assert_eq!([of("*/7 * * * *"), of("0 */5 * * *"), of("0 0 1 */5 *"), of("0 0 */2 * *")], [["uneven_step"]; 4]);
    assert_eq!([of("*/15 * * * *"), of("0 */8 * * *"), of("0 0 1 */3 *"), of("@every 7m")], [[""; 0]; 4]);
    let message = &ScheduleSpec::parse("*/7 * * * *").unwrap().lint(at(NEW_YEAR))[0].message;
    assert!(message.contains("minute") && message.contains("last distance is 4"), "{message}");
}

#[test]
fn days_of_both_kinds_earn_a_warning_that_says_which() {
    assert_eq!(of("0 0 13 * FRI"), ["either_day"]);
    assert_eq!(of("0 0 13 * */2"), ["both_days"]);
    assert_eq!(of("0 0 ? * FRI"), [""; 0]);
}

#[test]
fn fixed_times_that_a_clock_leaves_out_or_repeats_earn_a_warning_with_the_date() {
    let berlin = |text: &str| ScheduleSpec::parse(text).unwrap().timezone("Europe/Berlin").unwrap();
    let warnings = berlin("30 2 * * *").lint(at(NEW_YEAR));
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts[0], "02:30 on 2026-03-29 does not exist in Europe/Berlin: it runs at 03:00 instead");
    assert_eq!(texts[1], "02:30 on 2026-10-25 comes twice in Europe/Berlin: it runs the first time only");
    assert_eq!([codes(berlin("30 3 * * *")), codes(berlin("30 * * * *"))], [[""; 0]; 2]);
    assert_eq!(codes(berlin("30 2 * * MON")), [""; 0]);
    let go = ScheduleSpec::parse_as("30 2 * * *", Flavor::Asynq).unwrap().timezone("Europe/Berlin").unwrap();
    let warnings = go.lint(at(NEW_YEAR));
    assert!(warnings[0].message.ends_with("Asynq does not run it then"), "{}", warnings[0]);
    assert!(warnings[1].message.ends_with("Asynq runs it both times"), "{}", warnings[1]);
}
