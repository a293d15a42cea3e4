//! A schedule as it is written on the command line and in the configuration: the same names, the same checks.

use std::{str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Deserializer, de::Error};
use windlass::{CatchUp, Flavor, Fold, Gap, Overlap, RawJob, Schedule, Timestamp};

use crate::{
    commands::request::Plain,
    units::{self, Span},
};

/// When it ticks, and what becomes of its ticks. What is left out is as in the library.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Five or six fields, `@daily` and its like, or `@every 5m`
    #[arg(long, value_name = "SPEC", conflicts_with = "every")]
    pub(crate) cron: Option<String>,
    /// Ticks at equal distances from now on
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) every: Option<Duration>,
    /// The zone whose clock the spec goes by [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// By whose rules the spec is read [default: windlass]
    #[arg(long, value_name = "FLAVOR")]
    pub(crate) flavor: Option<ByRules>,
    /// What becomes of a fixed time that the clock leaves out [default: run_after]
    #[arg(long, value_name = "POLICY")]
    pub(crate) gap: Option<InGap>,
    /// What becomes of a fixed time that the clock shows twice [default: first]
    #[arg(long, value_name = "POLICY")]
    pub(crate) fold: Option<InFold>,
    /// Missed ticks that are made up for: skip, one, or all:N for the newest N [default: one]
    #[arg(long, value_name = "POLICY")]
    pub(crate) catch_up: Option<MadeUp>,
    /// Older ticks are not made up for [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) window: Option<Duration>,
    /// What becomes of a tick while the job of an earlier one has not ended [default: allow]
    #[arg(long, value_name = "POLICY")]
    pub(crate) overlap: Option<Beside>,
    /// Put each job off by up to this much [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) jitter: Option<Duration>,
    /// No ticks before this moment
    #[arg(long, value_name = "TIME")]
    pub(crate) starts: Option<Timestamp>,
    /// No ticks after this moment
    #[arg(long, value_name = "TIME")]
    pub(crate) ends: Option<Timestamp>,
}

impl Rules {
    /// The schedule of this name.
    pub(crate) fn schedule(&self, name: &str, job: RawJob) -> Result<Schedule, String> {
        let schedule = match (&self.cron, self.every) {
            (Some(spec), None) => Schedule::cron(name, spec),
            (None, Some(interval)) => Schedule::every(name, interval),
            (Some(_), Some(_)) => return Err("has both `cron` and `every`; keep one".into()),
            (None, None) => return Err("has neither `cron` nor `every`; give one".into()),
        };
        let by_clock = self.timezone.is_some() || self.flavor.is_some() || self.gap.is_some() || self.fold.is_some();
        if self.every.is_some() && by_clock {
            return Err("goes by no clock with `every`; leave timezone, flavor, gap and fold out".into());
        }
        let mut schedule = schedule
            .job(job)
            .flavor(self.flavor.map_or(Flavor::default(), Into::into))
            .gap(self.gap.map_or(Gap::default(), Into::into))
            .fold(self.fold.map_or(Fold::default(), Into::into))
            .overlap(self.overlap.map_or(Overlap::default(), Into::into))
            .catch_up(self.catch_up.map_or(CatchUp::default(), |policy| policy.0));
        if let Some(zone) = &self.timezone {
            schedule = schedule.timezone(zone);
        }
        if let Some(window) = self.window {
            schedule = schedule.window(window);
        }
        if let Some(most) = self.jitter {
            schedule = schedule.jitter(most);
        }
        if let Some(starts) = self.starts {
            schedule = schedule.starts(starts);
        }
        if let Some(ends) = self.ends {
            schedule = schedule.ends(ends);
        }
        Ok(schedule)
    }
}

/// A schedule of a configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of its own, [[schedules]]")]
pub(crate) struct Configured {
    pub(crate) name: String,
    cron: Option<String>,
    every: Option<Span>,
    timezone: Option<String>,
    flavor: Option<ByRules>,
    gap: Option<InGap>,
    fold: Option<InFold>,
    catch_up: Option<MadeUp>,
    window: Option<Span>,
    overlap: Option<Beside>,
    jitter: Option<Span>,
    starts: Option<Timestamp>,
    ends: Option<Timestamp>,
    kind: String,
    /// Written as JSON.
    payload: Option<toml::Value>,
    queue: Option<String>,
    priority: Option<i32>,
    max_retry: Option<u32>,
    timeout: Option<Span>,
    retention: Option<Span>,
    tenant: Option<String>,
    exclusive: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

impl Configured {
    pub(crate) fn schedule(&self) -> Result<Schedule, String> {
        let payload = match &self.payload {
            Some(value) => json_of(value).map_err(|problem| format!("its payload {problem}"))?.to_string().into_bytes(),
            None => b"{}".to_vec(),
        };
        let job = Plain {
            queue: self.queue.clone(),
            priority: self.priority,
            max_retry: self.max_retry,
            timeout: self.timeout.map(|span| span.0),
            retention: self.retention.map(|span| span.0),
            tenant: self.tenant.clone(),
            exclusive: self.exclusive.clone(),
            tags: self.tags.clone(),
        };
        let rules = Rules {
            cron: self.cron.clone(),
            every: self.every.map(|span| span.0),
            timezone: self.timezone.clone(),
            flavor: self.flavor,
            gap: self.gap,
            fold: self.fold,
            catch_up: self.catch_up,
            window: self.window.map(|span| span.0),
            overlap: self.overlap,
            jitter: self.jitter.map(|span| span.0),
            starts: self.starts,
            ends: self.ends,
        };
        let job = RawJob::new(&*self.kind, payload).with(|_| job.options());
        Ok(rules.schedule(&self.name, job)?.from_config())
    }
}

/// The JSON that a value of TOML stands for: dates and times are texts.
fn json_of(value: &toml::Value) -> Result<serde_json::Value, String> {
    use serde_json::Value;
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Boolean(yes) => Value::from(*yes),
        toml::Value::Datetime(at) => Value::from(at.to_string()),
        toml::Value::Float(number) => serde_json::Number::from_f64(*number)
            .map(Value::Number)
            .ok_or_else(|| format!("holds {number}, which JSON cannot say"))?,
        toml::Value::Array(items) => items.iter().map(json_of).collect::<Result<Vec<_>, _>>().map(Value::Array)?,
        toml::Value::Table(table) => {
            let entry = |(name, value): (&String, &toml::Value)| Ok::<_, String>((name.clone(), json_of(value)?));
            Value::Object(table.iter().map(entry).collect::<Result<_, _>>()?)
        }
    })
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $of:ident { $($word:ident)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[value(rename_all = "snake_case")]
        pub(crate) enum $name {
            $($word,)*
        }

        impl From<$name> for $of {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$word => $of::$word,)*
                }
            }
        }
    )*};
}

words! {
    /// By whose rules a spec is read.
    ByRules = Flavor { Windlass Asynq }
    /// What becomes of a time that the clock leaves out.
    InGap = Gap { RunAfter Skip }
    /// What becomes of a time that the clock shows twice.
    InFold = Fold { First Second Both }
    /// What becomes of a tick that meets a job of an earlier one.
    Beside = Overlap { Allow Skip BufferOne CancelRunning }
}

/// Which missed ticks are made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MadeUp(pub(crate) CatchUp);

impl FromStr for MadeUp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let policy = match text.split_once(':') {
            None if text == "skip" => Some(CatchUp::Skip),
            None if text == "one" => Some(CatchUp::One),
            Some(("all", most)) => most.parse().ok().map(CatchUp::All),
            _ => None,
        };
        let wrong = || format!("`{text}` says of no missed tick what becomes of it; write skip, one, or all:N");
        policy.map(MadeUp).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for MadeUp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_in_toml_is_the_json_that_it_looks_like() {
        let value: toml::Value =
            toml::from_str("at = 2026-01-01T00:00:00Z\nday = 2026-01-01\nn = [1, 2.5, true]").unwrap();
        let json = serde_json::json!({"at": "2026-01-01T00:00:00Z", "day": "2026-01-01", "n": [1, 2.5, true]});
        assert_eq!(json_of(&value), Ok(json));
        for bad in ["x = nan", "x = [-inf]"] {
            let value: toml::Value = toml::from_str(bad).unwrap();
            assert!(json_of(&value).unwrap_err().contains("JSON cannot say"), "{bad}");
        }
    }

    #[test]
    fn missed_ticks_are_skipped_or_made_up_for_by_their_number() {
        assert_eq!("skip".parse(), Ok(MadeUp(CatchUp::Skip)));
        assert_eq!("one".parse(), Ok(MadeUp(CatchUp::One)));
        assert_eq!("all:7".parse(), Ok(MadeUp(CatchUp::All(7))));
        for bad in ["", "all", "all:", "all:x", "two", "one:1"] {
            assert!(bad.parse::<MadeUp>().unwrap_err().contains("all:N"), "{bad}");
        }
    }
}
