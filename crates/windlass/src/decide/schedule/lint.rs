//! What the author of a spec may not have meant. A warning refuses nothing: each of these specs means something.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::{
    Flavor, Fold, Gap, Rule, ScheduleSpec,
    civil::{self, Civil, DAY},
    field::digits,
    zone::Change,
};
use crate::job::Timestamp;

/// For how many days ahead changes of the clock are looked at.
const AHEAD: i64 = 3 * 366 * DAY;

/// Something that the author of a spec may not have meant; see [`ScheduleSpec::lint`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SpecWarning {
    /// What it is, in a word that stays the same: `many_runs`, `never`, `missing_months`, `uneven_step`, `either_day`,
    /// `both_days`, `gap`, `fold`.
    pub code: &'static str,
    /// What will happen, and what to write instead.
    pub message: Arc<str>,
}

impl fmt::Display for SpecWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The names of the fields, the span after which each starts anew, and the field's unit.
const FIELDS: [(&str, u32); 6] =
    [("second", 60), ("minute", 60), ("hour", 24), ("day of month", 0), ("month", 12), ("day of week", 0)];

pub(crate) fn lint(spec: &ScheduleSpec, now: Timestamp) -> Vec<SpecWarning> {
    if matches!(spec.rule, Rule::Every(_) | Rule::Asynq(super::asynq::Rule::Every(_))) {
        return Vec::new();
    }
    let fields = Fields::of(&spec.text);
    let mut warnings: Vec<SpecWarning> = Vec::new();
    let mut warn = |code, message: Option<String>| {
        warnings.extend(message.map(|message| SpecWarning { code, message: message.into() }));
    };
    if spec.next(now).is_none() {
        let span = if spec.flavor == Flavor::Asynq {
            "the next five years have no such date"
        } else {
            "no year has such a date"
        };
        warn("never", Some(format!("it never runs: {span}")));
        return warnings;
    }
    if let Some(fields) = &fields {
        warn("many_runs", fields.many_runs());
        for (number, text) in fields.0.iter().enumerate() {
            warn("uneven_step", uneven_step(number, text));
        }
        warn("missing_months", fields.missing_months());
        let (code, message) = fields.two_days(spec.flavor);
        warn(code, message);
    }
    for (code, message) in clocks(spec, now.as_micros().div_euclid(super::SECOND)) {
        warn(code, Some(message));
    }
    warnings
}

/// The six fields as text; the second is `0` where there are five.
struct Fields([String; 6]);

impl Fields {
    /// Words such as `@daily` have none, and nothing to warn of.
    fn of(text: &str) -> Option<Self> {
        let fields = text.split_whitespace().filter(|part| !part.contains("TZ=")).map(str::to_owned);
        let mut fields: Vec<String> = fields.collect();
        if fields.len() == 5 {
            fields.insert(0, "0".into());
        }
        fields.try_into().ok().map(Self)
    }

    /// A `*` in front of a number: once was meant, and it runs each minute of that hour.
    fn many_runs(&self) -> Option<String> {
        let [second, minute, hour, of_month, month, of_week] = &self.0;
        let days = format!("{of_month} {month} {of_week}");
        if second == "*" && (minute != "*" || hour != "*") {
            let instead = format!("0 {} {hour} {days}", if minute == "*" { "0" } else { minute });
            return Some(format!("it runs in each second of each matching minute; for once write `{instead}`"));
        }
        let each_minute = matches!(&**minute, "*" | "*/1" | "0-59");
        let each = second != "*" && each_minute && hour != "*" && hour != "*/1";
        each.then(|| {
            let instead = if second == "0" { format!("0 {hour} {days}") } else { format!("{second} 0 {hour} {days}") };
            format!("it runs 60 times in each matching hour, once a minute; for once write `{instead}`")
        })
    }

    /// Days that some months do not have.
    fn missing_months(&self) -> Option<String> {
        let [.., of_month, month, of_week] = &self.0;
        let days: Option<Vec<u32>> = of_month.split(',').map(digits).collect();
        let first = days?.into_iter().min().filter(|first| *first > 28)?;
        if !matches!(&**of_week, "*" | "?") {
            return None;
        }
        let (missing, advice) = match (first, &**month) {
            (29, _) => ("February has it in leap years only", "`L` is the last day of every month"),
            (30, "*") => ("February has none", "`L` is the last day of every month"),
            (31, "*") => ("only seven months have it", "`L` is the last day of every month"),
            _ => return None,
        };
        Some(format!("day {first}: {missing}, and months without it are left out; {advice}"))
    }

    /// Days of the month and of the week at once.
    fn two_days(&self, flavor: Flavor) -> (&'static str, Option<String>) {
        let [_, _, _, of_month, _, of_week] = &self.0;
        let any = |text: &str| matches!(text, "*" | "?");
        if any(of_month) || any(of_week) {
            return ("either_day", None);
        }
        if flavor == Flavor::Windlass && (of_month.starts_with('*') || of_week.starts_with('*')) {
            let message =
                format!("it runs on days that match both `{of_month}` and `{of_week}`, since one begins with `*`");
            return ("both_days", Some(message));
        }
        let message =
            format!("it runs on days that match `{of_month}` or `{of_week}`, and not only on those that match both");
        ("either_day", Some(message))
    }
}

/// A step that does not divide its field, so that the distance is another where the field starts anew.
fn uneven_step(number: usize, text: &str) -> Option<String> {
    let (name, span) = FIELDS[number];
    let step = text.split(',').find_map(|entry| digits(entry.strip_prefix("*/")?))?;
    match span {
        0 if number == 3 && step > 1 => Some(format!("`*/{step}` in the {name} starts anew with each month, at day 1")),
        0 => None,
        span if span % step == 0 || step > span => None,
        span => {
            let rest = span % step;
            Some(format!(
                "`*/{step}` in the {name} starts anew at {}: the last distance is {rest} and not {step}; `@every` keeps equal ones",
                u32::from(span == 12)
            ))
        }
    }
}

/// Fixed times that the clock of the zone leaves out or shows twice, the first of each.
fn clocks(spec: &ScheduleSpec, now: i64) -> Vec<(&'static str, String)> {
    let (mut found, mut from): (Vec<(&'static str, String)>, i64) = (Vec::new(), now);
    while let Some(change) = spec.zone.first_change(from, now + AHEAD) {
        from = change.at;
        let (code, message) = if change.after > change.before {
            ("gap", left_out(spec, change))
        } else {
            ("fold", shown_twice(spec, change))
        };
        if found.iter().all(|(other, _)| *other != code) {
            found.extend(message.map(|message| (code, message)));
        }
    }
    found
}

fn left_out(spec: &ScheduleSpec, change: Change) -> Option<String> {
    let local = fixed_in(spec, change.at + change.before, change.at + change.after)?;
    let then = match (spec.flavor, spec.gap) {
        (Flavor::Windlass, Gap::RunAfter) => format!("it runs at {} instead", clock(change.at + change.after)),
        (Flavor::Windlass, Gap::Skip) => "it does not run then; the gap policy run_after would".into(),
        (Flavor::Asynq, _) => "Asynq does not run it then".into(),
    };
    Some(format!("{} does not exist in {}: {then}", date_and_clock(local), spec.zone()))
}

fn shown_twice(spec: &ScheduleSpec, change: Change) -> Option<String> {
    let local = fixed_in(spec, change.at + change.after, change.at + change.before)?;
    let then = match (spec.flavor, spec.fold) {
        (Flavor::Windlass, Fold::First) => "it runs the first time only",
        (Flavor::Windlass, Fold::Second) => "it runs the second time only",
        (Flavor::Windlass, Fold::Both) => "it runs both times",
        (Flavor::Asynq, _) => "Asynq runs it both times",
    };
    Some(format!("{} comes twice in {}: {then}", date_and_clock(local), spec.zone()))
}

/// A fixed time of the wall in this span.
fn fixed_in(spec: &ScheduleSpec, from: i64, until: i64) -> Option<i64> {
    let found = match &spec.rule {
        Rule::Wall { pattern, real_time: false } => pattern.first_from(from),
        Rule::Asynq(super::asynq::Rule::Fields(fields)) if !fields.real_time() => fields.on_a_wall().first_from(from),
        _ => None,
    };
    found.filter(|found| *found < until)
}

fn clock(local: i64) -> String {
    let at = Civil::of(local);
    format!("{:02}:{:02}", at.hour(), at.minute())
}

fn date_and_clock(local: i64) -> String {
    let (year, month, day) = civil::date(local.div_euclid(DAY));
    format!("{} on {year}-{month:02}-{day:02}", clock(local))
}
