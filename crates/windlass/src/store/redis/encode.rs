//! A job as Asynq's message and what Asynq cannot express beside it.

use std::{sync::Arc, time::Duration};

use prost::Message;
use serde::{Deserialize, Serialize};

use super::{
    arg,
    pack::{Pack, Unpack},
    reply::odd,
    wire::TaskMessage,
};
use crate::{
    job::{DEFAULTS, JobId, JobSpec, Kind, NewJob, QueueName, Start, Timestamp, Unique, UniqueKey, UniqueMode, micros},
    store::Result,
};

/// What of a job Asynq's message cannot hold. Field `x:o` of the task's hash; left out when there is nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Options {
    #[serde(rename = "p", skip_serializing_if = "is_default")]
    priority: i8,
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    tenant: Option<Arc<str>>,
    #[serde(rename = "g", skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(rename = "m", skip_serializing_if = "Option::is_none")]
    max_retry: Option<u32>,
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    timeout_us: Option<i64>,
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    deadline_us: Option<i64>,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    retention_us: Option<i64>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    unique: Option<(String, Option<i64>)>,
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    exclusive: Option<Arc<str>>,
}

fn is_default(number: &i8) -> bool {
    *number == 0
}

/// One new job, packed as `lua/lib/intake.lua` takes it.
pub(super) fn packed(job: &NewJob) -> Result<Vec<u8>> {
    let spec = &*job.spec;
    let mut pack = Pack::default();
    let more = more(job)?;
    pack.list(if more.is_empty() { 3 } else { 4 });
    pack.text(spec.id.to_string()).text(message(spec).encode_to_vec()).text(spec.kind.as_str());
    if !more.is_empty() {
        pack.map(more.len());
        more.iter().for_each(|(name, value)| {
            pack.text(name).text(value);
        });
    }
    Ok(pack.bytes())
}

/// The first byte of a list of three.
const PLAIN: u8 = 0x93;

/// Whether there is nothing to a packed job beside Asynq's message.
pub(super) fn is_plain(packed: &[u8]) -> bool {
    packed.first() == Some(&PLAIN)
}

/// What there is to a new job beyond what Asynq's message says of one that runs at once.
fn more(job: &NewJob) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let spec = &*job.spec;
    let mut more = Vec::new();
    match job.start {
        Start::Now => {}
        Start::At(at) => more.extend([("start", b"a".into()), ("at", arg(at.as_micros()))]),
        Start::In(wait) => more.extend([("start", b"i".into()), ("at", arg(micros(wait)))]),
    }
    if spec.priority != 0 {
        more.push(("priority", arg(spec.priority)));
    }
    match spec.unique {
        None => {}
        Some(Unique { key, mode: UniqueMode::UntilDone }) => more.extend([("mode", b"u".into()), ("key", arg(key))]),
        Some(Unique { key, mode: UniqueMode::Idempotency { ttl } }) => {
            more.extend([("mode", b"i".into()), ("key", arg(key)), ("ttl", arg(micros(ttl)))]);
        }
    }
    let options = options(spec)?;
    if !options.is_empty() {
        more.push(("options", options));
    }
    more.extend(spec.tenant.as_deref().map(|tenant| ("tenant", tenant.into())));
    if exact(spec.retention, seconds(spec.retention).min(MOST_SECONDS)).is_some() {
        more.push(("retention", arg(micros(spec.retention))));
    }
    more.extend(spec.group.as_deref().map(|group| ("group", group.into())));
    more.extend(spec.exclusive.as_deref().map(|key| ("exclusive", key.into())));
    Ok(more)
}

/// What of a packed job decides whether it is in another's way: its id, mode and key.
pub(super) fn claim_of(packed: &[u8]) -> Result<[Vec<u8>; 3]> {
    let mut read = Unpack::new(packed.to_vec());
    let parts = read.list()?;
    let id = read.bytes()?.to_vec();
    let _ = (read.bytes()?, read.bytes()?);
    let mut claim = [id, Vec::new(), Vec::new()];
    for _ in 0..if parts > 3 { read.map()? } else { 0 } {
        match &*read.bytes()? {
            b"mode" => claim[1] = read.bytes()?.to_vec(),
            b"key" => claim[2] = read.bytes()?.to_vec(),
            _ => drop(read.bytes()?),
        }
    }
    Ok(claim)
}

/// Whole seconds, rounded up: Go keeps and waits no less than what was asked for.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs() + u64::from(duration.subsec_nanos() > 0).min(u64::MAX - duration.as_secs()))
        .unwrap_or(i64::MAX)
}

fn message(spec: &JobSpec) -> TaskMessage {
    TaskMessage {
        kind: spec.kind.to_string(),
        payload: spec.payload.clone(),
        id: spec.id.to_string(),
        queue: spec.queue.to_string(),
        retry: i32::try_from(spec.max_retry).unwrap_or(i32::MAX),
        timeout: seconds(spec.timeout).min(MOST_SECONDS),
        deadline: spec.deadline.map_or(0, |at| at.as_micros().div_euclid(1_000_000).max(1)),
        retention: seconds(spec.retention).min(MOST_SECONDS),
        group_key: spec.group.as_deref().unwrap_or_default().to_owned(),
        headers: spec.headers.clone(),
        ..TaskMessage::default()
    }
}

/// The microseconds of a duration that whole seconds do not say.
fn exact(duration: Duration, seconds: i64) -> Option<i64> {
    (micros(duration) != seconds * 1_000_000).then(|| micros(duration))
}

/// Go counts durations in nanoseconds, which end after 292 years.
const MOST_SECONDS: i64 = 9_000_000_000;

fn options(spec: &JobSpec) -> Result<Vec<u8>> {
    let plain = message(spec);
    let deadline = spec.deadline.map(Timestamp::as_micros);
    let options = Options {
        priority: spec.priority,
        tenant: spec.tenant.clone(),
        tags: spec.tags.clone(),
        max_retry: (i64::from(plain.retry) != i64::from(spec.max_retry)).then_some(spec.max_retry),
        timeout_us: exact(spec.timeout, plain.timeout),
        deadline_us: deadline.filter(|at| *at != plain.deadline.saturating_mul(1_000_000)),
        retention_us: exact(spec.retention, plain.retention),
        unique: spec.unique.map(|unique| {
            let ttl = match unique.mode {
                UniqueMode::UntilDone => None,
                UniqueMode::Idempotency { ttl } => Some(micros(ttl)),
            };
            (unique.key.to_string(), ttl)
        }),
        exclusive: spec.exclusive.clone(),
    };
    let text = serde_json::to_vec(&options).map_err(|_| odd("options"))?;
    Ok(if text == b"{}" { Vec::new() } else { text })
}

/// A job out of its message and its options. A job of Go's has no options.
pub(super) fn spec(message: TaskMessage, options: &[u8]) -> Result<JobSpec> {
    let options: Options = match options {
        [] => Options::default(),
        text => serde_json::from_slice(text).map_err(|_| odd("a job's options"))?,
    };
    let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    let whole = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let deadline = options.deadline_us.map(Timestamp::from_micros);
    let of_message =
        (message.deadline != 0).then(|| Timestamp::from_micros(message.deadline.saturating_mul(1_000_000)));
    Ok(JobSpec {
        id: id(&message.id)?,
        kind: Kind::trusted(message.kind),
        queue: QueueName::trusted(message.queue),
        payload: message.payload,
        tenant: options.tenant,
        priority: options.priority,
        max_retry: options.max_retry.unwrap_or(u32::try_from(message.retry).unwrap_or(0)),
        timeout: match (options.timeout_us, message.timeout) {
            (Some(exact), _) => micros(exact),
            // Go: with a deadline alone there is no timeout.
            (None, 0) if message.deadline != 0 => whole(MOST_SECONDS),
            (None, 0) => DEFAULTS.timeout,
            (None, seconds) => whole(seconds),
        },
        deadline: deadline.or(of_message),
        retention: options.retention_us.map_or(whole(message.retention), micros),
        unique: options.unique.map(|(key, ttl)| unique(&key, ttl)).transpose()?,
        group: Some(message.group_key).filter(|group| !group.is_empty()).map(Into::into),
        exclusive: options.exclusive,
        tags: options.tags,
        headers: message.headers,
    })
}

fn unique(key: &str, ttl: Option<i64>) -> Result<Unique> {
    let bytes = data_encoding::HEXLOWER.decode(key.as_bytes()).ok();
    let key = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| odd("a unique key"))?;
    let mode = match ttl {
        None => UniqueMode::UntilDone,
        Some(ttl) => UniqueMode::Idempotency { ttl: Duration::from_micros(u64::try_from(ttl).unwrap_or(0)) },
    };
    Ok(Unique { key: UniqueKey(key), mode })
}

/// The id as it stands in Redis. Go lets an id be any text, so one that we would not take is damage to us alone.
pub(super) fn id(text: &str) -> Result<JobId> {
    text.parse().map_err(|_| odd("an id"))
}

/// Headers, tags and all that Asynq has no word for come back as they were: see the conformance suite's `fields`.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::Env,
        job::{JobOptions, UniqueBy},
        testing::job,
    };

    #[test]
    fn a_plain_job_needs_nothing_beside_asynqs_message() {
        let env = Env::system();
        let plain = job("email:send").options(JobOptions::new().retention(Duration::from_secs(60))).build(&env);
        assert_eq!(more(&plain).unwrap(), []);
        assert!(is_plain(&packed(&plain).unwrap()));
        let odd = job("email:send").options(JobOptions::new().timeout(Duration::from_millis(1500))).build(&env);
        assert_eq!(more(&odd).unwrap(), [("options", br#"{"o":1500000}"#.into())]);
        assert!(!is_plain(&packed(&odd).unwrap()));
        assert_eq!(message(&odd.spec).timeout, 2, "Go waits no less");
    }

    #[test]
    fn a_packed_job_says_whose_way_it_is_in() {
        let env = Env::system();
        let plain = job("a").build(&env);
        assert_eq!(claim_of(&packed(&plain).unwrap()).unwrap(), [arg(&plain.spec.id), Vec::new(), Vec::new()]);
        let unique = job("a").options(JobOptions::new().tag("x").unique(UniqueBy::until_done(&1))).build(&env);
        let [id, mode, key] = claim_of(&packed(&unique).unwrap()).unwrap();
        assert_eq!((id, mode, key), (arg(&unique.spec.id), b"u".into(), arg(unique.spec.unique.unwrap().key)));
        assert!(claim_of(b"\x93\xa5ab").is_err());
    }

    #[test]
    fn a_job_of_gos_gets_gos_rules() {
        let message = TaskMessage { id: "a".into(), deadline: 100, ..TaskMessage::default() };
        let spec = spec(message, b"").unwrap();
        assert_eq!(spec.deadline, Some(Timestamp::from_micros(100_000_000)));
        assert!(spec.timeout > Duration::from_secs(3600 * 24 * 365));
    }
}
