//! Specs by the rules of robfig/cron v3, which Asynq uses: what it accepts. Which instant it calls the next is in
//! `walk.rs`. Both are held to answers of the Go library that were written down (`tests/asynq.rs`).

use super::{
    SpecError, go_duration,
    pattern::{Days, Pattern},
    zone::Zone,
};
use crate::job::Timestamp;

/// There was a star.
pub(super) const STAR: u64 = 1 << 63;

/// What a spec says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Fields(Fields),
    /// Seconds after the moment that is asked about, whatever it is.
    Every(i64),
}

/// The numbers that match, a bit each, and whether there was a star.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) minute: u64,
    pub(crate) hour: u64,
    pub(crate) of_month: u64,
    pub(crate) month: u64,
    pub(crate) of_week: u64,
}

struct Bounds {
    name: &'static str,
    least: u64,
    most: u64,
    names: &'static [&'static str],
}

const MINUTE: Bounds = Bounds { name: "minute", least: 0, most: 59, names: &[] };
const HOUR: Bounds = Bounds { name: "hour", least: 0, most: 23, names: &[] };
const OF_MONTH: Bounds = Bounds { name: "day of month", least: 1, most: 31, names: &[] };
const MONTH: Bounds = Bounds {
    name: "month",
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const OF_WEEK: Bounds =
    Bounds { name: "day of week", least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// Words for specs, and what they stand for.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Reads a spec, and the zone that it names.
pub(crate) fn parse(text: &str) -> Result<(super::Rule, Option<Zone>), SpecError> {
    let (zone, spec) = zone_of(text)?;
    let rule = match spec.strip_prefix("@every ") {
        Some(interval) => Rule::Every(interval_of(interval)?),
        None => match WORDS.iter().find(|(word, _)| *word == spec) {
            Some((_, fields)) => Rule::Fields(fields_of(fields)?),
            None if spec.starts_with('@') => {
                let known: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
                let problem =
                    format!("is not known to Asynq; it has {} and @every, as in `@every 5m`", known.join(", "));
                return Err(SpecError::new("spec", spec, problem));
            }
            None => Rule::Fields(fields_of(spec)?),
        },
    };
    Ok((super::Rule::Asynq(rule), zone))
}

/// Splits off the zone. The original panics where nothing but a zone is given.
fn zone_of(text: &str) -> Result<(Option<Zone>, &str), SpecError> {
    let Some(rest) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) else {
        return Ok((None, text));
    };
    let Some((name, rest)) = rest.split_once(' ') else {
        return Err(SpecError::new("spec", text, "names a zone and nothing else; write the five fields after it"));
    };
    let zone = match name {
        "" => Some(Zone::UTC),
        // The zone of the process in Go, which is the schedule's own here.
        "Local" => None,
        name => Some(Zone::named(name)?),
    };
    Ok((zone, rest.trim()))
}

fn interval_of(text: &str) -> Result<i64, SpecError> {
    let problem = "is no duration in Go's form, such as 30s, 5m or 1h30m";
    let nanos = go_duration::nanos(text).ok_or_else(|| SpecError::new("interval", text, problem))?;
    Ok((nanos / 1_000_000_000).max(1))
}

fn fields_of(text: &str) -> Result<Fields, SpecError> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, of_month, month, of_week] = *fields else {
        let problem = format!(
            "has {} fields; Asynq's specs have exactly five: minute, hour, day of month, month, day of week",
            fields.len()
        );
        return Err(SpecError::new("spec", text, problem));
    };
    Ok(Fields {
        minute: MINUTE.field(minute)?,
        hour: HOUR.field(hour)?,
        of_month: OF_MONTH.field(of_month)?,
        month: MONTH.field(month)?,
        of_week: OF_WEEK.field(of_week)?,
    })
}

impl Bounds {
    /// A list. Empty entries are no error there, and a list of nothing but them matches nothing.
    fn field(&self, text: &str) -> Result<u64, SpecError> {
        text.split(',').filter(|entry| !entry.is_empty()).try_fold(0, |set, entry| Ok(set | self.entry(entry)?))
    }

    fn entry(&self, text: &str) -> Result<u64, SpecError> {
        let parts: Vec<&str> = text.split('/').collect();
        let ends: Vec<&str> = parts[0].split('-').collect();
        let star = matches!(ends[0], "*" | "?");
        let (first, mut last) = match *ends {
            _ if star => (self.least, self.most),
            [one] => (self.number(one, text)?, self.number(one, text)?),
            [first, last] => (self.number(first, text)?, self.number(last, text)?),
            _ => return Err(self.refuse(text, "has too many hyphens")),
        };
        let step = match *parts {
            [_] => 1,
            [_, step] => {
                if ends.len() == 1 {
                    last = self.most;
                }
                atoi(step).ok_or_else(|| self.refuse(text, "has a step that is no number"))?
            }
            _ => return Err(self.refuse(text, "has too many slashes")),
        };
        if first < self.least || last > self.most {
            return Err(self.refuse(text, "is out of range"));
        }
        if first > last {
            return Err(self.refuse(text, "ends before it begins"));
        }
        if step == 0 {
            return Err(self.refuse(text, "has a step of 0"));
        }
        let step_by = usize::try_from(step).unwrap_or(usize::MAX);
        let set = (first..=last).step_by(step_by).fold(0, |set, number| set | 1 << number);
        Ok(if star && step == 1 { set | STAR } else { set })
    }

    fn number(&self, text: &str, entry: &str) -> Result<u64, SpecError> {
        let named = self.names.iter().position(|name| *name == text.to_lowercase());
        let named = named.map(|at| self.least + at as u64);
        named.or_else(|| atoi(text)).ok_or_else(|| self.refuse(entry, "cannot be read"))
    }

    fn refuse(&self, entry: &str, problem: &str) -> SpecError {
        let Self { name, least, most, names } = self;
        let names = match names {
            [first, .., last] => format!("{first}-{last}, "),
            _ => String::new(),
        };
        let problem = format!("{problem}; Asynq allows {least}-{most}, {names}`*`, lists, ranges and steps");
        SpecError::new(name, entry, problem)
    }
}

/// A number as Go's Atoi reads it, if it is not negative.
fn atoi(text: &str) -> Option<u64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = text.parse().ok()?;
    u64::try_from(number).ok()
}

impl Rule {
    /// The first tick after this instant.
    pub(crate) fn next(&self, zone: Zone, after: Timestamp) -> Option<Timestamp> {
        let after = after.as_micros().div_euclid(super::SECOND);
        match self {
            Self::Every(seconds) => super::seconds(after.checked_add(*seconds)?),
            Self::Fields(fields) => super::seconds(fields.next(zone, after)?),
        }
    }
}

impl Fields {
    /// It names no fixed times, so that a change of the clock surprises nobody.
    pub(crate) fn real_time(&self) -> bool {
        (self.minute | self.hour) & STAR != 0
    }

    /// What it matches where the clock runs evenly.
    pub(crate) fn on_a_wall(&self) -> Pattern {
        let of_week = (self.of_week & !STAR) as u32;
        let starred = (self.of_month & STAR != 0, self.of_week & STAR != 0);
        Pattern {
            seconds: 1,
            minutes: self.minute & !STAR,
            hours: (self.hour & !STAR) as u32,
            months: (self.month & !STAR) as u32,
            days: Days { of_month: (self.of_month & !STAR) as u32, of_week, starred, ..Days::default() },
        }
    }
}
