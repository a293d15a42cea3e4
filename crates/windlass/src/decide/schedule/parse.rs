//! Reads a spec in our own flavour: `CRON_TZ=`, `@daily` and its like, `@every 5m`, five or six fields. What it means is
//! in `pattern.rs` and `wall.rs`.

use std::time::Duration;

use super::{
    Rule, SpecError,
    field::{FIELDS, digits},
    pattern::{Days, Pattern},
    zone::Zone,
};

/// The shortest and the longest interval of `@every`.
const INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(100 * 366 * 86_400)];

/// Words for specs, and what they stand for.
const WORDS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Reads a spec, and the zone that it names.
pub(crate) fn parse(text: &str) -> Result<(Rule, Option<Zone>), SpecError> {
    let (zone, rest) = zone_of(text.trim())?;
    if let Some(interval) = word(rest, "@every") {
        return Ok((Rule::Every(interval_of(interval)?), zone));
    }
    let fields = match WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(rest)) {
        Some((_, fields)) => fields,
        None if rest.starts_with('@') => {
            let known: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
            let problem = format!("is not known; there are {} and @every, as in `@every 5m`", known.join(", "));
            return Err(SpecError::new("spec", rest, problem));
        }
        None => rest,
    };
    Ok((wall(fields)?, zone))
}

/// Splits off `CRON_TZ=name` or `TZ=name`.
fn zone_of(text: &str) -> Result<(Option<Zone>, &str), SpecError> {
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((None, text));
    };
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Ok((Some(Zone::named(name)?), rest.trim_start()))
}

/// What follows this word.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    first.eq_ignore_ascii_case(word).then(|| rest.trim_start())
}

/// Reads an interval: whole numbers and their units, the largest unit first or not, as `1h30m`.
pub(crate) fn interval_of(text: &str) -> Result<Duration, SpecError> {
    let refuse =
        |problem: &str| SpecError::new("interval", text, format!("{problem}; write for example 30s, 5m, 1h30m or 2d"));
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let number_ends = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, more) = rest.split_at(number_ends);
        let unit_ends = more.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(more.len());
        let (unit, more) = more.split_at(unit_ends);
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse("cannot be read")),
        };
        let number: u64 = number.parse().map_err(|_| refuse("cannot be read"))?;
        let part = number.checked_mul(unit).ok_or_else(|| refuse("is too long"))?;
        millis = millis.checked_add(part).ok_or_else(|| refuse("is too long"))?;
        rest = more;
    }
    let interval = Duration::from_millis(millis);
    check_interval(interval).map_err(refuse)
}

/// Refuses an interval that is too short or too long.
pub(crate) fn check_interval(interval: Duration) -> Result<Duration, &'static str> {
    match interval {
        short if short < INTERVALS[0] => Err("is too short: the shortest interval is 1s"),
        long if long > INTERVALS[1] => Err("is too long: the longest interval is 100 years"),
        interval => Ok(interval),
    }
}

/// Reads five or six fields.
fn wall(text: &str) -> Result<Rule, SpecError> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [second, minute, hour, of_month, month, of_week] = match *fields {
        [minute, hour, of_month, month, of_week] => ["0", minute, hour, of_month, month, of_week],
        [second, minute, hour, of_month, month, of_week] => [second, minute, hour, of_month, month, of_week],
        _ => {
            let problem = format!(
                "has {} fields; five (minute, hour, day of month, month, day of week) or six (second before them) are needed",
                fields.len()
            );
            return Err(SpecError::new("spec", text, problem));
        }
    };
    let mut days = Days { starred: (starred(of_month), starred(of_week)), ..Days::default() };
    let pattern = Pattern {
        seconds: list(0, second)?,
        minutes: list(1, minute)?,
        hours: list(2, hour)? as u32,
        months: {
            entries(3, of_month).try_for_each(|entry| day_of_month(entry?, &mut days))?;
            list(4, month)? as u32
        },
        days: {
            entries(5, of_week).try_for_each(|entry| day_of_week(entry?, &mut days))?;
            days
        },
    };
    const ALL_HOURS: u32 = 0xff_ffff;
    let real_time = [second, minute, hour].into_iter().any(starred) || pattern.hours == ALL_HOURS;
    Ok(Rule::Wall { pattern, real_time })
}

/// Any number will do, or each step of any.
fn starred(text: &str) -> bool {
    text.starts_with('*') || text == "?"
}

/// The entries of the list that a field is.
fn entries(field: usize, text: &str) -> impl Iterator<Item = Result<&str, SpecError>> {
    text.split(',').map(move |entry| match entry {
        "" => Err(FIELDS[field].refuse(text, "has an empty entry in its list")),
        entry => Ok(entry),
    })
}

fn list(field: usize, text: &str) -> Result<u64, SpecError> {
    entries(field, text).try_fold(0, |set, entry| Ok(set | FIELDS[field].entry(entry?)?))
}

fn day_of_month(entry: &str, days: &mut Days) -> Result<(), SpecError> {
    let field = &FIELDS[3];
    let upper = entry.to_ascii_uppercase();
    if upper == "LW" || upper == "WL" {
        days.last_weekday = true;
    } else if let Some(before) = upper.strip_prefix('L') {
        let before = if before.is_empty() { Some(0) } else { before.strip_prefix('-').and_then(digits) };
        let before = before.filter(|before| *before <= 30);
        days.before_last |= 1 << before.ok_or_else(|| field.refuse(entry, "cannot be read"))?;
    } else if let Some(day) = upper.strip_suffix('W') {
        days.nearest |= 1 << field.number(day, entry)?;
    } else if entry == "?" {
        days.of_month |= field.entry("*")? as u32;
    } else {
        days.of_month |= field.entry(entry)? as u32;
    }
    Ok(())
}

fn day_of_week(entry: &str, days: &mut Days) -> Result<(), SpecError> {
    let field = &FIELDS[5];
    if let Some((day, nth)) = entry.split_once('#') {
        let nth = digits(nth).filter(|nth| (1..=5).contains(nth));
        let nth = nth.ok_or_else(|| field.refuse(entry, "names no week from 1 to 5"))?;
        days.nth[field.number(day, entry)? as usize % 7] |= 1 << nth;
    } else if let Some(day) = entry.strip_suffix(['L', 'l']) {
        days.last_of_week |= 1 << (field.number(day, entry)? % 7);
    } else if entry == "?" {
        days.of_week |= field.entry("*")? as u32;
    } else {
        days.of_week |= field.entry(entry)? as u32;
    }
    Ok(())
}
