//! Between rows and what the contract speaks of.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio_postgres::{Row, types::FromSql};
use tracing::warn;
use uuid::Uuid;

use super::{encode::BETWEEN, tx::Reply};
use crate::{
    job::{
        ErrorClass, ErrorEntry, Fence, GroupKey, JobId, JobRecord, JobSpec, Kind, Monotonic, Progress, QueueName,
        ServerId, State, Timestamp, Unique, UniqueKey, UniqueMode,
    },
    store::{Claimed, Result, StoreError},
};

/// What the server answered is not what the function answers.
pub(super) fn odd(what: &str) -> StoreError {
    StoreError::Corrupt(format!("the Postgres server answered {what} that is none; is the schema windlass's own?"))
}

pub(super) fn get<'r, T: FromSql<'r>>(row: &'r impl Reply, column: &str) -> Result<T> {
    row.value(column).map_err(|error| odd(&format!("a column `{column}` ({error})")))
}

/// What was read from a job's row; of one that somebody has damaged by hand there is nothing but a word in the log.
pub(super) fn readable<A>(row: &Row, read: Result<A>) -> Option<A> {
    let id = || row.try_get::<_, &str>("id").unwrap_or_default();
    read.inspect_err(|error| warn!(job.id = id(), %error, "a job's row cannot be read; look at it in the database"))
        .ok()
}

pub(super) fn id(text: &str) -> Result<JobId> {
    text.parse().map_err(|_| odd("a job's id"))
}

pub(super) fn state(code: i16) -> Result<State> {
    u8::try_from(code).ok().and_then(State::from_code).ok_or_else(|| odd("a state"))
}

pub(super) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

pub(super) fn fence(fence: i64) -> Fence {
    Fence(u64::try_from(fence).unwrap_or(0))
}

fn count(row: &Row, column: &str) -> Result<u32> {
    Ok(u32::try_from(get::<i32>(row, column)?).unwrap_or(0))
}

fn time(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros))
}

fn shared(row: &Row, column: &str) -> Result<Option<Arc<str>>> {
    Ok(get::<Option<&str>>(row, column)?.map(Into::into))
}

/// The group that the column `member_of` names.
pub(super) fn group_of(member_of: &str) -> Option<GroupKey> {
    let (queue, group) = member_of.split_once(BETWEEN)?;
    Some(GroupKey::new(QueueName::trusted(queue), group))
}

/// The key that the column `exclusive` names.
fn key_of(exclusive: &str) -> Option<Arc<str>> {
    exclusive.split_once(BETWEEN).map(|(_, key)| key.into())
}

/// What was asked for.
pub(super) fn spec(row: &Row) -> Result<JobSpec> {
    let headers: BTreeMap<String, String> =
        get::<Option<&str>>(row, "headers")?.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    Ok(JobSpec {
        id: id(get(row, "id")?)?,
        kind: Kind::trusted(get::<&str>(row, "kind")?),
        queue: QueueName::trusted(get::<&str>(row, "queue")?),
        payload: get::<Vec<u8>>(row, "payload")?.into(),
        tenant: shared(row, "tenant")?,
        priority: i8::try_from(get::<i16>(row, "priority")?).map_err(|_| odd("a priority"))?,
        max_retry: u32::try_from(get::<i64>(row, "max_retry")?).unwrap_or(u32::MAX),
        timeout: duration(get(row, "timeout_us")?),
        deadline: time(row, "deadline")?,
        retention: duration(get(row, "retention_us")?),
        unique: unique(row)?,
        group: get::<Option<&str>>(row, "member_of")?.and_then(group_of).map(|key| key.name),
        exclusive: get::<Option<&str>>(row, "exclusive")?.and_then(key_of),
        tags: get::<Option<Vec<String>>>(row, "tags")?.unwrap_or_default(),
        headers,
    })
}

fn unique(row: &Row) -> Result<Option<Unique>> {
    let Some(key) = get::<Option<&[u8]>>(row, "unique_key")? else { return Ok(None) };
    let key = UniqueKey(key.try_into().map_err(|_| odd("a unique key"))?);
    let ttl: Option<i64> = get(row, "unique_ttl_us")?;
    let mode = ttl.map_or(UniqueMode::UntilDone, |ttl| UniqueMode::Idempotency { ttl: duration(ttl) });
    Ok(Some(Unique { key, mode }))
}

/// A job that a claim took.
pub(super) fn claimed(row: &Row) -> Result<Claimed> {
    Ok(Claimed {
        spec: Arc::new(spec(row)?),
        fence: fence(get(row, "fence")?),
        attempt: count(row, "attempt")?,
        failures: count(row, "failures")?,
        crashes: count(row, "crashes")?,
        snoozes: count(row, "snoozes")?,
        created_at: Timestamp::from_micros(get(row, "created_at")?),
        waited: duration(get(row, "waited_us")?),
        checkpoint: get::<Option<Vec<u8>>>(row, "checkpoint")?.map(Into::into),
    })
}

/// The clocks of the moment at which records were read.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub(super) wall: Timestamp,
    pub(super) mono: Monotonic,
}

/// An error as `with_error` notes it.
#[derive(Deserialize)]
struct Noted {
    at: i64,
    attempt: u32,
    class: ErrorClass,
    message: String,
}

fn errors(json: Option<&str>) -> Vec<ErrorEntry> {
    let noted: Vec<Noted> = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let entry =
        |noted: Noted| ErrorEntry::new(Timestamp::from_micros(noted.at), noted.attempt, noted.class, noted.message);
    noted.into_iter().map(entry).collect()
}

/// A record out of a row of `windlass.record`.
pub(super) fn record(row: &Row, read: Read) -> Result<JobRecord> {
    let created = Timestamp::from_micros(get(row, "created_at")?);
    let mut record = JobRecord::new(Arc::new(spec(row)?), state(get(row, "state")?)?, created);
    record.attempt = count(row, "attempt")?;
    record.failures = count(row, "failures")?;
    record.crashes = count(row, "crashes")?;
    record.snoozes = count(row, "snoozes")?;
    record.fence = get::<Option<i64>>(row, "fence")?.map(fence);
    record.result = get::<Option<Vec<u8>>>(row, "result")?.map(Into::into);
    record.errors = errors(get(row, "errors")?);
    record.reason = shared(row, "reason")?;
    record.cancel_requested = shared(row, "cancel")?;
    record.flushed_into = get::<Option<&str>>(row, "flushed_into")?.map(id).transpose()?;
    record.updated_at = Timestamp::from_micros(get(row, "updated_at")?);
    record.run_at = time(row, "run_at")?;
    record.pending_at = time(row, "pending_at")?;
    record.started_at = time(row, "started_at")?;
    record.completed_at = time(row, "completed_at")?;
    record.server = get::<Option<Uuid>>(row, "server")?.map(ServerId);
    let fraction: Option<f64> = get(row, "fraction")?;
    let message = get::<Option<&str>>(row, "message")?.unwrap_or_default();
    record.progress = fraction.map(|fraction| Progress::new(fraction, message));
    let until = get::<Option<i64>>(row, "until_mono")?.map(Monotonic);
    record.lease_until = until.map(|until| {
        let left = until.since(read.mono);
        if left.is_zero() { read.wall.before(read.mono.since(until)) } else { read.wall.after(left) }
    });
    Ok(record)
}
