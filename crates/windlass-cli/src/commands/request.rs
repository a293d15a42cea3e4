//! One job as it is asked for, by flags or by a line of a batch: the same names, the same checks.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use clap::Args;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use windlass::{Env, JobOptions, JobState, RawJob, Start, Timestamp, UniqueBy};

use super::payload;
use crate::{
    exit::Failure,
    units::{self, Span},
};

/// The payload of a job that is given none.
pub(crate) const NO_PAYLOAD: &str = "{}";

/// How long a unique key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UniqueFor {
    Idempotency(Duration),
    UntilDone,
}

impl FromStr for UniqueFor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "until_done" => Ok(UniqueFor::UntilDone),
            Some(("idempotency", ttl)) => units::duration(ttl).map(UniqueFor::Idempotency),
            _ => {
                Err(format!("`{text}` is no rule of uniqueness; write until_done, or idempotency:TTL with a duration"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for UniqueFor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is said of a job in a word each, and of the jobs of a schedule.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct Plain {
    /// The line in which it waits [default: default]
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// -100 to 100, higher first [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: Option<i32>,
    /// How many attempts may fail before the last [default: 25]
    #[arg(long, value_name = "N")]
    pub(crate) max_retry: Option<u32>,
    /// The longest run [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) timeout: Option<Duration>,
    /// How long it stays readable once completed [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) retention: Option<Duration>,
    /// On whose behalf it runs
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Run at most one job with this key at a time, of its queue
    #[arg(long, value_name = "KEY")]
    pub(crate) exclusive: Option<String>,
    /// A tag; repeat it
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
}

impl Plain {
    pub(crate) fn options(&self) -> JobOptions {
        let mut options = self.tags.iter().fold(JobOptions::new(), |options, tag| options.tag(tag));
        if let Some(queue) = &self.queue {
            options = options.queue(queue);
        }
        if let Some(priority) = self.priority {
            options = options.priority(priority);
        }
        if let Some(retries) = self.max_retry {
            options = options.max_retry(retries);
        }
        if let Some(timeout) = self.timeout {
            options = options.timeout(timeout);
        }
        if let Some(retention) = self.retention {
            options = options.retention(retention);
        }
        if let Some(tenant) = &self.tenant {
            options = options.tenant(tenant);
        }
        if let Some(key) = &self.exclusive {
            options = options.exclusive(key);
        }
        options
    }
}

/// Everything that can be said about a job; what is left out has its default.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) kind: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) plain: Plain,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) process_at: Option<Timestamp>,
    pub(crate) process_in: Option<Duration>,
    pub(crate) id: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) unique: Option<UniqueFor>,
    pub(crate) unique_by: Vec<String>,
    pub(crate) group: Option<String>,
}

impl Request {
    /// The job, and what its answer says of it.
    pub(crate) fn into_job(self, env: &Env) -> Result<(RawJob, Expected), Failure> {
        let value = payload::parse(&self.payload)?;
        let start = match (self.process_at, self.process_in) {
            (None, None) => Start::Now,
            (Some(at), None) => Start::At(at),
            (None, Some(wait)) => Start::In(wait),
            (Some(_), Some(_)) => return Err(Failure::usage("`process_at` and `process_in` exclude each other")),
        };
        let state = state(start, env.wall(), self.group.is_some());
        let known = self.plain.exclusive.is_none() || state != JobState::Pending;
        let expected = Expected { queue: self.plain.queue.clone(), state: known.then_some(state) };
        let mut options = self.plain.options();
        if let Some(rule) = self.unique {
            let key = payload::unique_value(value, &self.unique_by)?;
            options = options.unique(match rule {
                UniqueFor::Idempotency(ttl) => UniqueBy::idempotency(&key, ttl),
                UniqueFor::UntilDone => UniqueBy::until_done(&key),
            });
        } else if !self.unique_by.is_empty() {
            return Err(Failure::usage(
                "`unique_by` says by what a job is unique; `unique` says for how long: give it, too",
            ));
        }
        options = match start {
            Start::At(at) => options.process_at(at.into()),
            Start::In(wait) => options.process_in(wait),
            Start::Now => options,
        };
        options = self.headers.iter().fold(options, |options, (name, value)| options.header(name, value));
        if let Some(deadline) = self.deadline {
            options = options.deadline(deadline);
        }
        if let Some(id) = &self.id {
            options = options.id(id);
        }
        if let Some(group) = &self.group {
            options = options.group(group);
        }
        Ok((RawJob::new(self.kind, self.payload).with(|_| options), expected))
    }
}

fn state(start: Start, now: Timestamp, grouped: bool) -> JobState {
    match start {
        Start::At(at) if at > now => JobState::Scheduled,
        Start::In(wait) if !wait.is_zero() => JobState::Scheduled,
        _ if grouped => JobState::Aggregating,
        _ => JobState::Pending,
    }
}

/// What an accepted job's answer says.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) queue: Option<String>,
    /// None: that of an exclusive job, which the store knows.
    pub(crate) state: Option<JobState>,
}

/// The answer to one job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) queue: String,
    /// Of a duplicate: the state of the job that is there; none when it has been removed since. None in a batch if the job
    /// is exclusive: pending or blocked.
    pub(crate) state: Option<JobState>,
    pub(crate) duplicate: bool,
}

impl Answer {
    pub(crate) fn new(enqueued: &windlass::Enqueued, expected: &Expected) -> Self {
        let (id, state, duplicate) = match enqueued {
            windlass::Enqueued::New(id) => (id, expected.state, false),
            windlass::Enqueued::Duplicate(id, state) => (id, *state, true),
        };
        let queue = expected.queue.as_deref().unwrap_or(windlass::DEFAULTS.queue);
        Self { id: id.to_string(), queue: queue.to_owned(), state, duplicate }
    }
}

/// A line of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: String,
    payload: Option<Box<RawValue>>,
    queue: Option<String>,
    priority: Option<i32>,
    max_retry: Option<u32>,
    timeout: Option<Span>,
    deadline: Option<Timestamp>,
    process_at: Option<Timestamp>,
    process_in: Option<Span>,
    retention: Option<Span>,
    id: Option<String>,
    #[serde(default, alias = "tag")]
    tags: Texts,
    tenant: Option<String>,
    #[serde(default, alias = "header")]
    headers: Headers,
    unique: Option<UniqueFor>,
    #[serde(default)]
    unique_by: Texts,
    group: Option<String>,
    exclusive: Option<String>,
}

/// One text, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Texts::Many(Vec::new())
    }
}

impl From<Texts> for Vec<String> {
    fn from(texts: Texts) -> Self {
        match texts {
            Texts::One(text) => vec![text],
            Texts::Many(texts) => texts,
        }
    }
}

/// `{"K":"V"}`, or `K=V` as the flag has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Headers {
    Map(BTreeMap<String, String>),
    Flags(Texts),
}

impl Default for Headers {
    fn default() -> Self {
        Headers::Map(BTreeMap::new())
    }
}

/// Reads `K=V`.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("`{text}` is no header; write NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads a line of a batch.
pub(crate) fn parse_line(line: &[u8]) -> Result<Request, Failure> {
    let line: Line =
        serde_json::from_slice(line).map_err(|error| Failure::usage(format!("the line is no job: {error}")))?;
    let headers = match line.headers {
        Headers::Map(map) => map.into_iter().collect(),
        Headers::Flags(texts) => {
            let texts: Vec<String> = texts.into();
            texts.iter().map(|text| header(text)).collect::<Result<_, _>>().map_err(Failure::usage)?
        }
    };
    let plain = Plain {
        queue: line.queue,
        priority: line.priority,
        max_retry: line.max_retry,
        timeout: line.timeout.map(|span| span.0),
        retention: line.retention.map(|span| span.0),
        tenant: line.tenant,
        exclusive: line.exclusive,
        tags: line.tags.into(),
    };
    Ok(Request {
        kind: line.kind,
        payload: line.payload.map_or(NO_PAYLOAD.into(), |payload| payload.get().as_bytes().to_vec()),
        plain,
        deadline: line.deadline,
        process_at: line.process_at,
        process_in: line.process_in.map(|span| span.0),
        id: line.id,
        headers,
        unique: line.unique,
        unique_by: line.unique_by.into(),
        group: line.group,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_the_flags_names() {
        let line = br#"{"kind":"a","payload":{"n":1.50},"queue":"q","priority":-3,"max_retry":2,"timeout":"5s",
            "process_in":"1m","retention":"1h","id":"x","tag":"t","tenant":"u","header":"k=v","unique":"until_done",
            "unique_by":["n"]}"#;
        let request = parse_line(line).unwrap();
        assert_eq!((request.payload.as_slice(), request.plain.tags), (&b"{\"n\":1.50}"[..], vec!["t".to_owned()]));
        assert_eq!(request.headers, [("k".to_owned(), "v".to_owned())]);
        assert_eq!((request.plain.priority, request.unique), (Some(-3), Some(UniqueFor::UntilDone)));
    }

    #[test]
    fn an_unknown_name_and_an_unknown_rule_are_named() {
        assert!(parse_line(br#"{"kind":"a","prority":1}"#).unwrap_err().message.contains("`prority`"));
        assert!(parse_line(br#"{"kind":"a","unique":"always"}"#).unwrap_err().message.contains("`always`"));
        assert!(parse_line(br#"{"kind":"a","headers":{"k":"v"},"tags":["a","b"]}"#).is_ok());
    }
}
