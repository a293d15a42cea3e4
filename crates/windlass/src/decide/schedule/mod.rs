//! Schedules: at which instants a recurring rule ticks, and what follows from that. [`ScheduleSpec`] is the rule;
//! [`due`] says which of its ticks are to run now, [`overlap`] what becomes of a tick whose predecessors still
//! run, [`tick`] how a tick is called and by how much it is put off. All of it is computed from what is handed in, so
//! every process comes to the same answer.

mod asynq;
mod civil;
pub mod due;
mod field;
mod go_duration;
mod lint;
pub mod overlap;
mod parse;
mod pattern;
pub(crate) mod plan;
pub mod record;
pub mod template;
#[cfg(test)]
mod tests;
pub mod tick;
mod walk;
mod wall;
mod zone;

use std::{convert::Infallible, fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::{civil::Civil, pattern::Pattern, wall::Wall, zone::Zone};
pub use self::{lint::SpecWarning, zone::tz_version};
use crate::job::Timestamp;

/// By whose rules a spec is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flavor {
    /// Ours: five or six fields, `L W #`, ranges that wrap around, and a stated policy where clocks change. Days of the
    /// month and of the week as in Vixie's cron: a day must match both if one of them begins with `*`, else one.
    #[default]
    Windlass,
    /// As Go's Asynq, which uses robfig/cron v3: five fields; a time that a clock leaves out is left out, one that it
    /// shows twice ticks twice; `@every` counts from the moment that is asked about; there is no tick if the next five
    /// years have none.
    Asynq,
}

/// What becomes of a fixed time that the wall clock leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gap {
    /// It ticks at the end of the gap, once for all that lay in it.
    #[default]
    RunAfter,
    /// It does not tick.
    Skip,
}

/// What becomes of a fixed time that the wall clock shows twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fold {
    /// It ticks the first time.
    #[default]
    First,
    /// It ticks the second time.
    Second,
    /// It ticks both times.
    Both,
}

/// Why a spec, or a part of it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} `{found}` {problem}")]
pub struct SpecError {
    field: &'static str,
    found: String,
    problem: String,
}

impl SpecError {
    fn new(field: &'static str, found: &str, problem: impl Into<String>) -> Self {
        Self { field, found: found.into(), problem: problem.into() }
    }

    /// The part that is wrong: `second`, `minute`, `hour`, `day of month`, `month`, `day of week`, `time zone`,
    /// `interval`, or `spec` for the whole.
    pub fn field(&self) -> &'static str {
        self.field
    }
}

impl From<Infallible> for SpecError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A recurring rule: at which instants something is due.
///
/// ```
/// use windlass::{Fold, Gap, ScheduleSpec, Timestamp};
/// # fn main() -> Result<(), windlass::SpecError> {
/// let nightly = ScheduleSpec::parse("30 2 * * *")?.timezone("Europe/Berlin")?.gap(Gap::RunAfter).fold(Fold::First);
/// let saturday: Timestamp = "2026-03-28T12:00:00Z".parse().unwrap();
/// // Half past two does not exist on that Sunday: it ticks at three, when the gap ends.
/// let ticks: Vec<String> = nightly.ticks_after(saturday).take(2).map(|tick| tick.to_string()).collect();
/// assert_eq!(ticks, ["2026-03-29T01:00:00.000000Z", "2026-03-30T00:30:00.000000Z"]);
/// # Ok(())
/// # }
/// ```
///
/// # The spec
///
/// Five fields (minute, hour, day of month, month, day of week) or six (with the second before them), separated by
/// blanks. A field is `*` or a list of numbers, names (`JAN`, `MON`), ranges and steps. Ranges may wrap around: `22-4`,
/// `FRI-MON`. `7` and `0` are Sunday. `L` is the last day of the month, `L-3` three days before it, `15W` the weekday
/// nearest to the 15th, `LW` the last weekday, `FRI#2` the second Friday, `FRIL` the last. `?` is `*` in the fields of
/// days. Instead of fields: `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`, and `@every 1h30m`, which counts from
/// an [epoch](Self::epoch). `CRON_TZ=Europe/Berlin` or `TZ=` before it names the zone, and goes before
/// [`timezone`](Self::timezone).
///
/// # When clocks change
///
/// A spec with a `*` in its second, minute or hour (or with all hours) follows real time: it ticks whenever the wall
/// matches. Any other names fixed times, and [`Gap`] and [`Fold`] say what becomes of those that the wall leaves out or
/// shows twice. Zones come from the database that is part of the program ([`tz_version`]).
#[derive(Clone, Debug)]
pub struct ScheduleSpec {
    text: Arc<str>,
    flavor: Flavor,
    rule: Rule,
    zone: Zone,
    names_zone: bool,
    given_zone: bool,
    gap: Gap,
    fold: Fold,
    epoch: Timestamp,
}

/// What a spec says.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    /// By the clock on the wall. `real_time`: each time that the wall matches.
    Wall { pattern: Pattern, real_time: bool },
    /// At equal distances.
    Every(Duration),
    /// By robfig's rules.
    Asynq(asynq::Rule),
}

impl ScheduleSpec {
    /// Reads a spec in our own flavour, in UTC unless it names a zone.
    ///
    /// # Errors
    /// When it cannot be read; the error names the field and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        Self::parse_as(text, Flavor::Windlass)
    }

    /// Reads a spec by the rules of this flavour.
    ///
    /// ```
    /// use windlass::{Flavor, ScheduleSpec};
    /// assert!(ScheduleSpec::parse_as("0 9 * * 1-5", Flavor::Asynq).is_ok());
    /// assert!(ScheduleSpec::parse_as("0 0 9 * * MON", Flavor::Asynq).is_err()); // no seconds there
    /// ```
    ///
    /// # Errors
    /// When it cannot be read; the error names the field and what is allowed there.
    pub fn parse_as(text: &str, flavor: Flavor) -> Result<Self, SpecError> {
        let (rule, zone) = match flavor {
            Flavor::Windlass => parse::parse(text)?,
            Flavor::Asynq => asynq::parse(text)?,
        };
        Ok(Self::of(text, flavor, rule, zone))
    }

    /// Ticks at equal distances from the [epoch](Self::epoch) on, so that all processes agree on the instants.
    ///
    /// ```
    /// use std::time::Duration;
    /// let spec = windlass::ScheduleSpec::every(Duration::from_secs(90)).unwrap();
    /// assert_eq!(spec.to_string(), "@every 90s");
    /// ```
    ///
    /// # Errors
    /// When the interval is shorter than a second or longer than 100 years.
    pub fn every(interval: Duration) -> Result<Self, SpecError> {
        let interval = Duration::from_millis(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        let text = match (interval.as_secs(), interval.subsec_millis()) {
            (seconds, 0) => format!("@every {seconds}s"),
            _ => format!("@every {}ms", interval.as_millis()),
        };
        let refuse = |problem: &str| SpecError::new("interval", &text["@every ".len()..], problem);
        let rule = Rule::Every(parse::check_interval(interval).map_err(refuse)?);
        Ok(Self::of(&text, Flavor::Windlass, rule, None))
    }

    fn of(text: &str, flavor: Flavor, rule: Rule, zone: Option<Zone>) -> Self {
        Self {
            text: text.trim().into(),
            flavor,
            rule,
            zone: zone.unwrap_or(Zone::UTC),
            names_zone: zone.is_some(),
            given_zone: false,
            gap: Gap::default(),
            fold: Fold::default(),
            epoch: Timestamp::default(),
        }
    }

    /// The zone whose clock it goes by, by its IANA name. A zone that the spec itself names goes before it. By itself
    /// UTC.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn timezone(mut self, name: &str) -> Result<Self, SpecError> {
        let zone = Zone::named(name)?;
        if !self.names_zone {
            self.zone = zone;
        }
        self.given_zone = true;
        Ok(self)
    }

    /// Somebody has said which zone it goes by.
    pub(crate) fn has_zone(&self) -> bool {
        self.names_zone || self.given_zone
    }

    /// What becomes of a fixed time that the clock leaves out. Means nothing to the flavour of Asynq.
    #[must_use]
    pub fn gap(mut self, gap: Gap) -> Self {
        self.gap = gap;
        self
    }

    /// What becomes of a fixed time that the clock shows twice. Means nothing to the flavour of Asynq.
    #[must_use]
    pub fn fold(mut self, fold: Fold) -> Self {
        self.fold = fold;
        self
    }

    /// From where `@every` counts. By itself 1970. Means nothing to the flavour of Asynq.
    #[must_use]
    pub fn epoch(mut self, epoch: Timestamp) -> Self {
        self.epoch = epoch;
        self
    }

    /// By whose rules it is read.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The name of the zone whose clock it goes by.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// What a clock in its zone shows at this instant, and how far that is ahead of UTC: RFC 3339, without fractions.
    ///
    /// ```
    /// let spec = windlass::ScheduleSpec::parse("TZ=Asia/Kathmandu @daily").unwrap();
    /// assert_eq!(spec.local("2026-03-01T12:00:00Z".parse().unwrap()), "2026-03-01T17:45:00+05:45");
    /// ```
    pub fn local(&self, at: Timestamp) -> String {
        let at = at.as_micros().div_euclid(SECOND);
        let offset = self.zone.offset(at);
        let (wall, sign, ahead) = (Civil::of(at + offset), if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
        let date = format!("{:04}-{:02}-{:02}", wall.year, wall.month, wall.day);
        let time = format!("{:02}:{:02}:{:02}", wall.hour(), wall.minute(), wall.second % 60);
        format!("{date}T{time}{sign}{:02}:{:02}", ahead / 60, ahead % 60)
    }

    /// The same ticks from a mark on, whatever instant is asked about: by Asynq's rules `@every` counts from there.
    pub(crate) fn counted_from(&self, mark: Timestamp) -> Self {
        let mut counted = self.clone();
        if let Rule::Asynq(asynq::Rule::Every(seconds)) = self.rule {
            counted.rule = Rule::Every(Duration::from_secs(seconds.unsigned_abs()));
            counted.epoch = Timestamp::from_micros(mark.as_micros().div_euclid(SECOND) * SECOND);
        }
        counted
    }

    /// The first tick after this instant, strictly later, or `None` if there is none: the spec names a date that no
    /// year has, or the year 9999 is over.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let tick = match &self.rule {
            Rule::Every(interval) => self.next_interval(*interval, after)?,
            Rule::Asynq(rule) => rule.next(self.zone, after)?,
            Rule::Wall { pattern, real_time } => {
                let (gap, fold) = if *real_time { (Gap::Skip, Fold::Both) } else { (self.gap, self.fold) };
                let wall = Wall { pattern, zone: self.zone, gap, fold };
                seconds(wall.next(after.as_micros().div_euclid(SECOND))?)?
            }
        };
        Some(tick)
    }

    fn next_interval(&self, interval: Duration, after: Timestamp) -> Option<Timestamp> {
        let (epoch, after) = (i128::from(self.epoch.as_micros()), i128::from(after.as_micros()));
        let interval = interval.as_micros() as i128;
        let tick = epoch + ((after - epoch).div_euclid(interval) + 1) * interval;
        within(tick)
    }

    /// The ticks after this instant, each strictly later than the one before. There can be no end of them: take as many
    /// as are needed.
    pub fn ticks_after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next(after), |tick| self.next(*tick))
    }

    /// What its author may not have meant: sixty runs where one was, dates that never come, steps that do not divide,
    /// times that a clock leaves out or shows twice within three years of `now`.
    ///
    /// ```
    /// let spec = windlass::ScheduleSpec::parse("* 0 * * *").unwrap();
    /// let warnings = spec.lint("2026-01-01T00:00:00Z".parse().unwrap());
    /// assert_eq!(warnings[0].code, "many_runs"); // sixty, and not one at midnight
    /// ```
    pub fn lint(&self, now: Timestamp) -> Vec<SpecWarning> {
        lint::lint(self, now)
    }
}

const SECOND: i64 = 1_000_000;
/// The end of the year 9999.
const LAST: i64 = 253_402_300_799_999_999;

/// An instant of whole seconds, if it is before the end of time.
fn seconds(seconds: i64) -> Option<Timestamp> {
    within(i128::from(seconds) * i128::from(SECOND))
}

fn within(micros: i128) -> Option<Timestamp> {
    let micros = i64::try_from(micros).ok()?;
    (micros <= LAST).then_some(Timestamp::from_micros(micros))
}

impl FromStr for ScheduleSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for ScheduleSpec {
    type Error = SpecError;

    fn try_from(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

impl fmt::Display for ScheduleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
