//! The configuration file of `windlass work`: TOML, every key known, every value checked before anything starts.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde::Deserialize;
use windlass::{Breaker, Kind, MAX_MEMBERS, QueueName, RetryBudget, RetryPolicy};

use crate::{exit::Failure, handlers::builtin::Builtin, schedule::Configured, units::Span};

/// A configuration that does something, for those who have none.
pub(crate) const EXAMPLE: &str = r#"name the kinds to run in a file and pass it with --config, for example:
  store = "sqlite:jobs.db"
  concurrency = 10

  [queues]
  critical = 6
  default = 3

  [kinds."image:*"]
  command = ["./resize", "--quiet"]
  timeout = "5m"
  retry = "exponential 1s cap 1h"

  [kinds.ping]
  builtin = "noop""#;

/// What a configuration may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) store: Option<String>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) strict: Option<bool>,
    pub(crate) lease: Option<Span>,
    pub(crate) shutdown_timeout: Option<Span>,
    pub(crate) unknown_kind_after: Option<Span>,
    #[serde(default)]
    pub(crate) queues: BTreeMap<String, u32>,
    #[serde(default)]
    pub(crate) kinds: BTreeMap<String, KindConfig>,
    #[serde(default)]
    pub(crate) groups: BTreeMap<String, GroupConfig>,
    #[serde(default)]
    pub(crate) schedules: Vec<Configured>,
    pub(crate) http: Option<Http>,
}

/// Where the worker answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of its own, [http]")]
pub(crate) struct Http {
    pub(crate) listen: Option<String>,
    tokens: Option<toml::Value>,
}

/// How one kind, or all kinds under a pattern, are run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of its own, such as [kinds.\"email:*\"]")]
pub(crate) struct KindConfig {
    command: Option<Vec<String>>,
    builtin: Option<Builtin>,
    pub(crate) timeout: Option<Span>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) retry: Option<Retry>,
    pub(crate) breaker: Option<BreakerConfig>,
    pub(crate) retry_budget: Option<BudgetConfig>,
}

/// A breaker; what is left out is as in the library.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a breaker, such as { failure_ratio = 0.5, open_for = \"30s\" }")]
pub(crate) struct BreakerConfig {
    failure_ratio: Option<f64>,
    min_calls: Option<u32>,
    window: Option<Span>,
    open_for: Option<Span>,
    probes: Option<u32>,
}

impl BreakerConfig {
    pub(crate) fn breaker(self) -> Breaker {
        let mut breaker = Breaker::new();
        if let Some(ratio) = self.failure_ratio {
            breaker = breaker.failure_ratio(ratio);
        }
        if let Some(calls) = self.min_calls {
            breaker = breaker.min_calls(calls);
        }
        if let Some(window) = self.window {
            breaker = breaker.window(window.0);
        }
        if let Some(time) = self.open_for {
            breaker = breaker.open_for(time.0);
        }
        if let Some(probes) = self.probes {
            breaker = breaker.probes(probes);
        }
        breaker
    }
}

/// A retry budget; what is left out is as in the library.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a retry budget, such as { ratio = 0.1 }")]
pub(crate) struct BudgetConfig {
    ratio: f64,
    per_minute: Option<u32>,
    longest: Option<Span>,
}

impl BudgetConfig {
    pub(crate) fn budget(self) -> RetryBudget {
        let mut budget = RetryBudget::new(self.ratio);
        if let Some(retries) = self.per_minute {
            budget = budget.per_minute(retries);
        }
        if let Some(wait) = self.longest {
            budget = budget.longest(wait.0);
        }
        budget
    }
}

/// What becomes of groups of a name, or of all names under a pattern: a job of this kind, whose payload is the array of
/// the members' payloads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of its own, such as [groups.\"digest:*\"]")]
pub(crate) struct GroupConfig {
    pub(crate) kind: String,
    /// Where that job goes; else into the queue of the group.
    pub(crate) queue: Option<String>,
    pub(crate) grace: Option<Span>,
    pub(crate) max_delay: Option<Span>,
    pub(crate) max_size: Option<u32>,
}

/// What runs a kind.
#[derive(Clone, Debug)]
pub(crate) enum Runner<'a> {
    Command(&'a [String]),
    Builtin(Builtin),
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::config(format!("the configuration {shown} cannot be read: {error}")))?;
        Self::parse(&text).map_err(|problem| Failure::config(format!("{shown}: {problem}")).into())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let tokens = self.http.as_ref().is_some_and(|http| http.tokens.is_some());
        if tokens {
            return Err("this version has no `http.tokens`; take the section out, or use a version that has it".into());
        }
        self.schedules.iter().try_for_each(|schedule| {
            schedule.schedule().map(drop).map_err(|problem| format!("schedule `{}` {problem}", schedule.name))
        })?;
        if let Some((queue, _)) = self.queues.iter().find(|(_, weight)| **weight == 0) {
            return Err(format!("the weight of queue `{queue}` is 0; give it at least 1, or leave the queue out"));
        }
        self.groups.iter().try_for_each(|(group, config)| {
            config.check().map_err(|problem| format!("groups.\"{group}\": {problem}"))
        })?;
        self.kinds.iter().try_for_each(|(kind, config)| {
            config.runner().map(drop).map_err(|problem| format!("kinds.\"{kind}\": {problem}"))
        })
    }
}

impl GroupConfig {
    fn check(&self) -> Result<(), String> {
        Kind::new(&self.kind).map_err(|error| error.to_string())?;
        self.queue.as_ref().map(QueueName::new).transpose().map_err(|error| error.to_string())?;
        match self.max_size {
            Some(size) if !(1..=MAX_MEMBERS).contains(&size) => {
                Err(format!("`max_size` is {size}; a job takes 1 to {MAX_MEMBERS} members"))
            }
            _ => Ok(()),
        }
    }
}

impl KindConfig {
    /// What runs the kind.
    pub(crate) fn runner(&self) -> Result<Runner<'_>, &'static str> {
        match (&self.command, self.builtin) {
            (Some(command), None) if command.is_empty() => Err("`command` is empty; name a program"),
            (Some(command), None) => Ok(Runner::Command(command)),
            (None, Some(builtin)) => Ok(Runner::Builtin(builtin)),
            (Some(_), Some(_)) => Err("has both `command` and `builtin`; keep one"),
            (None, None) => Err("has neither `command` nor `builtin`; give one"),
        }
    }
}

/// A retry policy as it is written: `asynq`, `fixed 10s`, `linear 5s`, `doubling 1s`, `exponential 1s`, each but the
/// first followed by `cap 1h` if it should stop growing there.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Retry(pub(crate) RetryPolicy);

impl TryFrom<String> for Retry {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let shape = |name: &str, wait: Duration| match name {
            "fixed" => Some(RetryPolicy::fixed(wait)),
            "linear" => Some(RetryPolicy::linear(wait)),
            "doubling" => Some(RetryPolicy::doubling(wait)),
            "exponential" => Some(RetryPolicy::exponential(wait)),
            _ => None,
        };
        let wait = |text| crate::units::duration(text);
        let policy = match words[..] {
            ["asynq"] => Some(RetryPolicy::asynq()),
            [name, base] => shape(name, wait(base)?),
            [name, base, "cap", cap] => {
                shape(name, wait(base)?).map(|policy| policy.cap(wait(cap).unwrap_or_default()))
            }
            _ => None,
        };
        if let [.., "cap", cap] = words[..] {
            wait(cap)?;
        }
        policy.map(Retry).ok_or_else(|| {
            format!(
                "`{text}` is no retry policy; write asynq, fixed 10s, linear 5s, doubling 1s or exponential 1s, \
                 the last four with `cap 1h` behind them if they should stop there"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(text).unwrap_err()
    }

    #[test]
    fn every_key_is_known_and_an_unknown_one_is_named_with_its_line() {
        assert!(refused("store = \"memory:\"\nconcurency = 3").contains("line 2: unknown field `concurency`"));
        assert!(refused("[kinds.a]\nbuiltin = \"noop\"\nretries = 3").contains("`retries`"));
    }

    #[test]
    fn values_are_checked_where_they_stand() {
        assert!(refused("lease = \"5x\"").contains("`5x` is no duration"));
        assert!(refused("[queues]\nlow = 0").contains("weight of queue `low`"));
        assert!(refused("[kinds.a]").contains("neither `command` nor `builtin`"));
        assert!(refused("[kinds.a]\ncommand = []").contains("empty"));
        assert!(refused("[kinds.a]\nbuiltin = \"nap\"").contains("`nap`"));
        assert!(refused("[kinds.a]\nbuiltin = \"noop\"\nretry = \"fixed\"").contains("no retry policy"));
        assert!(refused("[groups.a]").contains("missing field `kind`"));
        assert!(refused("[groups.a]\nkind = \"b*\"").contains("groups.\"a\": the kind ends in `*`"));
        assert!(refused("[groups.a]\nkind = \"b\"\nmax_size = 501").contains("1 to 500 members"));
        assert!(refused("[[schedules]]\nname = \"x\"").contains("missing field `kind`"));
        let schedule = |more: &str| refused(&format!("[[schedules]]\nname = \"x\"\nkind = \"k\"\n{more}"));
        assert!(schedule("").contains("schedule `x` has neither `cron` nor `every`"));
        assert!(schedule("cron = \"@daily\"\nevery = \"5m\"").contains("keep one"));
        assert!(schedule("every = \"5m\"\ncatch_up = \"all\"").contains("all:N"));
        assert!(schedule("every = \"5m\"\noverlap = \"queue\"").contains("buffer_one"));
        assert!(schedule("every = \"5m\"\nlimit = 3").contains("`limit`"));
        assert!(refused("[[http.tokens]]\nrole = \"viewer\"").contains("this version has no `http.tokens`"));
        assert!(refused("[http]\nport = 1").contains("unknown field `port`"));
    }

    #[test]
    fn a_value_of_another_shape_is_refused_in_words_of_the_file() {
        for text in ["kinds.a = 1", "groups.a = 1", "http = 1", "[kinds.a]\nbreaker = 1", "[kinds.a]\nretry_budget = 1"]
        {
            let said = refused(text);
            assert!(said.contains("expected a ") && !said.contains("struct"), "{said}");
        }
    }

    #[test]
    fn breakers_and_budgets_are_read() {
        let text = "[kinds.a]\nbuiltin = \"noop\"\nbreaker = { min_calls = 3, open_for = \"5s\" }\n\
            retry_budget = { ratio = 0.2, per_minute = 6 }";
        let kind = &Config::parse(text).unwrap().kinds["a"];
        let breaker = kind.breaker.map(BreakerConfig::breaker);
        assert_eq!(breaker, Some(Breaker::new().min_calls(3).open_for(Duration::from_secs(5))));
        assert_eq!(kind.retry_budget.map(BudgetConfig::budget), Some(RetryBudget::new(0.2).per_minute(6)));
        assert!(refused("[kinds.a]\nbuiltin = \"noop\"\nbreaker = { calls = 3 }").contains("`calls`"));
    }

    #[test]
    fn retry_policies_are_read() {
        let delay = |text: &str, failures| Retry::try_from(text.to_owned()).unwrap().0.delay(failures, 1).as_secs();
        assert_eq!([delay("fixed 10s", 5), delay("linear 5s", 3), delay("doubling 1s", 4)], [10, 15, 8]);
        assert_eq!([delay("doubling 1s cap 5s", 9), delay("fixed 2m cap 1m", 1)], [5, 60]);
        assert!(delay("exponential 1s cap 2s", 30) <= 2 && delay("asynq", 1) >= 15);
        for bad in ["", "fixed", "fixed 1", "fixed 1s cap", "fixed 1s cap 1x", "asynq 1s", "fixed 1s 2s"] {
            assert!(Retry::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
