//! A job's hash as a record, and a claimed job.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use redis::Value;

use super::{
    encode,
    pack::Unpack,
    reply::{bytes, list, number, odd, parse, text},
    wire::TaskMessage,
};
use crate::{
    job::{ErrorClass, ErrorEntry, Fence, JobId, JobRecord, JobSpec, LogLine, Progress, ServerId, State, Timestamp},
    store::{Claimed, Result},
};

/// What `lua/fetch.lua` answers for one job.
struct Row(HashMap<String, Vec<u8>>);

impl Row {
    fn read(values: Vec<Value>) -> Result<Self> {
        let mut fields = HashMap::with_capacity(values.len() / 2);
        let mut values = values.into_iter();
        while let (Some(name), Some(value)) = (values.next(), values.next()) {
            fields.insert(text(name)?, bytes(value)?);
        }
        Ok(Self(fields))
    }

    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.0.get(name)?).ok()
    }

    fn number(&self, name: &str) -> Option<i64> {
        parse(self.0.get(name)?)
    }

    fn count(&self, name: &str) -> u32 {
        self.number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }

    fn at(&self, name: &str) -> Option<Timestamp> {
        self.number(name).map(Timestamp::from_micros)
    }

    /// One of Asynq's scores: whole seconds.
    fn score(&self, name: &str) -> Option<Timestamp> {
        self.number(name).map(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
    }
}

/// The record of a fetched job and its place in the order of enqueueing. `steady` is the steady clock's moment.
pub(super) fn record(row: Value, now: Timestamp, steady: i64) -> Result<(JobRecord, i64)> {
    let row = Row::read(list(row)?)?;
    let code = row.number("code").and_then(|code| u8::try_from(code).ok());
    let state = code.and_then(State::from_code).ok_or_else(|| odd("a state"))?;
    let message = row.0.get("msg").cloned().unwrap_or_default();
    let message = TaskMessage::decode(&*message).map_err(|_| odd("a message"))?;
    let options = row.0.get("x:o").map(Vec::as_slice).unwrap_or_default();
    let retried = u32::try_from(message.retried).unwrap_or(0);
    let since = row.text("pending_since").filter(|since| !since.starts_with('+'));
    let since = since.and_then(|nanos| nanos.parse::<i64>().ok()).map(|nanos| Timestamp::from_micros(nanos / 1000));
    let noted = row.text("x:r").map(Noted::read).unwrap_or_default();
    let created = row.at("x:c").or(noted.created).or(since).unwrap_or(now);
    let errors = errors(&row, &message);
    let completed = (message.completed_at > 0).then(|| Timestamp::from_micros(message.completed_at * 1_000_000));
    let spec = Arc::new(encode::spec(message, options)?);
    let mut record = JobRecord::new(spec, state, created);
    record.failures = retried.saturating_add(row.count("x:fx"));
    let fence = row.text("pending_since").and_then(|since| since.strip_prefix('+')).filter(|_| state == State::Running);
    let ended = row.number("x:a").and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(retried);
    record.attempt = if fence.is_some() { record.failures.saturating_add(1) } else { ended };
    record.crashes = row.count("x:cr");
    record.snoozes = row.count("x:sn");
    record.fence = fence.or(row.text("x:f")).and_then(|fence| fence.parse().ok()).map(Fence);
    record.result = row.0.get("result").cloned().map(Into::into);
    record.errors = errors;
    record.updated_at = row.at("x:u").or(noted.started).unwrap_or(created);
    let pending = row.at("x:p").or(noted.pending);
    record.pending_at = if state == State::Pending { since.or(pending) } else { pending.or(since) };
    let fraction = row.text("x:pf").and_then(|fraction| fraction.parse().ok());
    record.progress = fraction.map(|fraction| Progress::new(fraction, row.text("x:pm").unwrap_or_default()));
    record.checkpoint = row.0.get("x:ck").cloned().map(Into::into);
    record.log = row.text("x:lg").unwrap_or_default().split('\0').filter_map(log_line).collect();
    record.flushed_into = row.text("x:in").map(encode::id).transpose()?;
    record.started_at = noted.started;
    record.server = noted.server.and_then(|id| uuid::Uuid::try_parse(id).ok()).map(ServerId);
    match state {
        State::Scheduled | State::Retrying => record.run_at = run_at(&row),
        State::Blocked => record.waits_for = row.text("holder").map(encode::id).transpose()?,
        State::Running => {
            let until = row.number("until").map(|until| Timestamp::from_micros(now.as_micros() + until - steady));
            record.lease_until = until.or(row.score("go_until"));
            record.cancel_requested = row.text("x:wish").map(Into::into);
        }
        State::Completed | State::Dead | State::Cancelled => {
            let of_go = if state == State::Completed { completed } else { row.score("score") };
            // What we noted of an earlier end says nothing of one that Go has brought about since.
            let ours =
                row.at("x:d").filter(|at| state == State::Completed || of_go.is_none_or(|end| same_second(*at, end)));
            record.reason = row.text("x:why").filter(|_| ours.is_some()).map(Into::into);
            record.completed_at = ours.or(of_go);
        }
        _ => {}
    }
    Ok((record, row.number("x:n").unwrap_or(i64::MAX)))
}

/// When it is due: by our note, as long as Asynq's score is the whole second after it. Go may have put it off since.
fn run_at(row: &Row) -> Option<Timestamp> {
    let score = row.score("score");
    let whole = |at: &Timestamp| Timestamp::from_micros(at.as_micros().saturating_add(999_999) / 1_000_000 * 1_000_000);
    row.at("x:at").filter(|at| score.is_none_or(|score| score == whole(at).max(Timestamp::default()))).or(score)
}

fn same_second(one: Timestamp, other: Timestamp) -> bool {
    one.as_micros().div_euclid(1_000_000) == other.as_micros().div_euclid(1_000_000)
}

/// Our history of errors, and the one error that Asynq keeps if Go has written it.
fn errors(row: &Row, message: &TaskMessage) -> Vec<ErrorEntry> {
    let entries = row.text("x:e").unwrap_or_default().split('\0').filter(|entry| !entry.is_empty());
    let mut errors: Vec<_> = entries.filter_map(entry).collect();
    if message.error_msg.is_empty() || row.number("x:em") == Some(message.last_failed_at) {
        return errors;
    }
    let at = Timestamp::from_micros(message.last_failed_at.saturating_mul(1_000_000));
    let attempt = u32::try_from(message.retried).unwrap_or(0).max(1);
    errors.push(ErrorEntry::new(at, attempt, ErrorClass::Error, message.error_msg.clone()));
    errors
}

fn entry(text: &str) -> Option<ErrorEntry> {
    let mut parts = text.splitn(4, '\u{1}');
    let at = Timestamp::from_micros(parts.next()?.parse().ok()?);
    let attempt = parts.next()?.parse().ok()?;
    let class = parts.next().map(serde_json::Value::from)?;
    let class = serde_json::from_value(class).unwrap_or(ErrorClass::Error);
    Some(ErrorEntry { at, attempt, class, message: parts.next()?.to_owned() })
}

fn log_line(text: &str) -> Option<LogLine> {
    let mut parts = text.splitn(4, '\u{1}');
    let at = Timestamp::from_micros(parts.next()?.parse().ok()?);
    let (attempt, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(LogLine { number, at, attempt, line: parts.next()?.into() })
}

/// One job of a claim's answer as it stands there: see `lua/claim.lua`.
pub(super) struct ClaimRow {
    pub(super) id: Bytes,
    pub(super) fence: Bytes,
    message: Bytes,
    created: Bytes,
    waited: i64,
    more: Bytes,
}

impl ClaimRow {
    pub(super) fn read(answer: &mut Unpack) -> Result<Self> {
        let (id, fence, message) = (answer.bytes()?, answer.bytes()?, answer.bytes()?);
        let (created, waited, more) = (answer.bytes()?, answer.number()?, answer.bytes()?);
        Ok(Self { id, fence, message, created, waited, more })
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| odd("text"))
}

/// The job, and whether it holds a key of Asynq's.
pub(super) fn claimed(row: ClaimRow) -> Result<(Claimed, bool)> {
    let (created, waited, more) = (row.created, row.waited, More::read(row.more)?);
    let (id, fence) = (utf8(&row.id)?, utf8(&row.fence)?);
    let message = TaskMessage::decode(row.message).map_err(|_| odd("a message"))?;
    let keyed = !message.unique_key.is_empty();
    let failures = u32::try_from(message.retried).unwrap_or(0).saturating_add(more.failures);
    let mut spec = encode::spec(message, &more.options)?;
    // The key says the id; what the message says of it is Go's affair.
    spec.id = encode::id(id)?;
    let claimed = Claimed {
        spec: Arc::new(spec),
        fence: Fence(fence.parse().map_err(|_| odd("a fence"))?),
        attempt: failures.saturating_add(1),
        failures,
        crashes: more.crashes,
        snoozes: more.snoozes,
        created_at: Timestamp::from_micros(parse(&created).ok_or_else(|| odd("a moment"))?),
        waited: Duration::from_micros(u64::try_from(waited).unwrap_or(0)),
        checkpoint: more.checkpoint,
    };
    Ok((claimed, keyed))
}

/// What a claim says of a job that is not a plain one in line for the first time.
#[derive(Default)]
struct More {
    options: Bytes,
    checkpoint: Option<Bytes>,
    failures: u32,
    crashes: u32,
    snoozes: u32,
}

impl More {
    fn read(packed: Bytes) -> Result<Self> {
        if packed.is_empty() {
            return Ok(Self::default());
        }
        let mut read = Unpack::new(packed);
        read.list()?;
        let (options, mut checkpoint) = (read.bytes()?, read.bytes()?);
        let mut count = || read.number().map(|number| u32::try_from(number).unwrap_or(0));
        let (failures, crashes, snoozes) = (count()?, count()?, count()?);
        // Behind a `1`, since an empty one is one as well.
        let checkpoint = (!checkpoint.is_empty()).then(|| checkpoint.split_off(1));
        Ok(Self { options, checkpoint, failures, crashes, snoozes })
    }
}

/// What `lua/claim.lua` notes of a run in `x:r`.
#[derive(Default)]
struct Noted<'r> {
    started: Option<Timestamp>,
    pending: Option<Timestamp>,
    created: Option<Timestamp>,
    server: Option<&'r str>,
}

impl<'r> Noted<'r> {
    fn read(text: &'r str) -> Self {
        let mut parts = text.splitn(5, ' ');
        let mut moment = || parts.next().and_then(|text| parse(text.as_bytes())).map(Timestamp::from_micros);
        let (started, pending, created) = (moment(), moment(), moment());
        Self { started, pending, created, server: parts.nth(1) }
    }
}

/// A job out of its message and options alone, under the id of its message.
pub(super) fn spec(message: Value, options: Value) -> Result<JobSpec> {
    let message = TaskMessage::decode(&*bytes(message)?).map_err(|_| odd("a message"))?;
    encode::spec(message, &bytes(options)?)
}

/// An answer `{holder, state}` of somebody who is in the way.
pub(super) fn holder(value: Value) -> Result<Option<(JobId, Option<State>)>> {
    let Value::Array(pair) = value else { return Ok(None) };
    let [id, code] = <[Value; 2]>::try_from(pair).map_err(|_| odd("a holder"))?;
    let code = u8::try_from(number(&code)?).ok();
    Ok(Some((encode::id(&text(id)?)?, code.and_then(State::from_code))))
}
