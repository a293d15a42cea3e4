//! Between rows and what the contract speaks of: ids, records, extras, error histories.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::clock::Clock;
use crate::job::{
    ErrorEntry, Fence, GroupKey, JobId, JobRecord, JobSpec, Kind, Monotonic, QueueName, ServerId, State, Timestamp,
    Unique, UniqueKey, UniqueMode,
};

/// Payloads and extras up to this size stand in the hot row.
pub(super) const INLINE: usize = 1024;

/// An id as a column: 16 bytes for a UUID, text for the caller's own.
pub(super) struct IdColumn<'a>(pub(super) &'a JobId);

impl ToSql for IdColumn<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0.as_text() {
            Some(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            None => ToSqlOutput::Borrowed(ValueRef::Blob(self.0.uuid_bytes().unwrap_or_default())),
        })
    }
}

impl FromSql for JobId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(bytes) => {
                Uuid::from_slice(bytes).map(JobId::from_uuid).map_err(|error| FromSqlError::Other(Box::new(error)))
            }
            other => other.as_str()?.parse().map_err(|error| FromSqlError::Other(Box::new(error))),
        }
    }
}

impl ToSql for ServerId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_bytes())))
    }
}

impl FromSql for ServerId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let uuid = Uuid::from_slice(value.as_blob()?);
        uuid.map(ServerId).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// What few jobs have.
#[derive(Default, Serialize, Deserialize)]
struct Extras {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exclusive: Option<String>,
}

/// Tags, headers, group and exclusive key as JSON; none when there are none.
pub(super) fn extras(spec: &JobSpec) -> Option<String> {
    if spec.tags.is_empty() && spec.headers.is_empty() && spec.group.is_none() && spec.exclusive.is_none() {
        return None;
    }
    let extras = Extras {
        tags: spec.tags.clone(),
        headers: spec.headers.clone(),
        group: spec.group.as_deref().map(str::to_owned),
        exclusive: spec.exclusive.as_deref().map(str::to_owned),
    };
    serde_json::to_string(&extras).ok()
}

/// Puts extras that came from elsewhere into a spec.
pub(super) fn set_extras(spec: &mut JobSpec, json: Option<&str>) {
    let extras: Extras = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    spec.tags = extras.tags;
    spec.headers = extras.headers;
    spec.group = extras.group.map(Into::into);
    spec.exclusive = extras.exclusive.map(Into::into);
}

/// The name of a job's group in the column `member_of`, or of its key in `exclusive`: names hold no control character.
pub(super) fn member_of(queue: &QueueName, group: &str) -> String {
    format!("{queue}\u{1f}{group}")
}

/// The group that the column names.
pub(super) fn group_of(member_of: &str) -> Option<GroupKey> {
    let (queue, group) = member_of.split_once('\u{1f}')?;
    Some(GroupKey::new(QueueName::trusted(queue), group))
}

pub(super) fn errors_json(errors: &[ErrorEntry]) -> Option<String> {
    if errors.is_empty() { None } else { serde_json::to_string(errors).ok() }
}

pub(super) fn errors_of(json: Option<&str>) -> Vec<ErrorEntry> {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

pub(super) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

pub(super) fn state(row: &Row<'_>, column: &str) -> rusqlite::Result<State> {
    let code: u8 = row.get(column)?;
    State::from_code(code).ok_or_else(|| rusqlite::Error::IntegralValueOutOfRange(0, code.into()))
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

/// What was asked for, out of a row that begins with its eleven columns (queue and kind are given). By number: finding
/// a column by its name would cost more than reading it.
pub(super) fn spec(row: &Row<'_>, queue: QueueName, kind: Kind) -> rusqlite::Result<JobSpec> {
    let extras = match row.get_ref(10)? {
        ValueRef::Null => Extras::default(),
        json => serde_json::from_slice(json.as_bytes().unwrap_or_default()).unwrap_or_default(),
    };
    let payload = match row.get_ref(9)? {
        ValueRef::Null => Bytes::new(),
        bytes => Bytes::copy_from_slice(bytes.as_bytes().unwrap_or_default()),
    };
    Ok(JobSpec {
        id: row.get(0)?,
        kind,
        queue,
        payload,
        tenant: row.get::<_, Option<Arc<str>>>(6)?,
        priority: row.get(1)?,
        max_retry: row.get(2)?,
        timeout: duration(row.get(3)?),
        retention: duration(row.get(4)?),
        deadline: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
        unique: unique(row)?,
        group: extras.group.map(Into::into),
        exclusive: extras.exclusive.map(Into::into),
        tags: extras.tags,
        headers: extras.headers,
    })
}

fn unique(row: &Row<'_>) -> rusqlite::Result<Option<Unique>> {
    let Some(key) = row.get::<_, Option<[u8; 16]>>(7)? else { return Ok(None) };
    let ttl: Option<i64> = row.get(8)?;
    let mode = ttl.map_or(UniqueMode::UntilDone, |ttl| UniqueMode::Idempotency { ttl: duration(ttl) });
    Ok(Some(Unique { key: UniqueKey(key), mode }))
}

/// A record out of a row of `windlass_record`.
pub(super) fn record(row: &Row<'_>, clock: &Clock) -> rusqlite::Result<JobRecord> {
    let queue = QueueName::trusted(row.get::<_, String>("queue")?);
    let kind = Kind::trusted(row.get::<_, String>("kind")?);
    let created = Timestamp::from_micros(row.get("created_at")?);
    let mut record = JobRecord::new(Arc::new(spec(row, queue, kind)?), state(row, "state")?, created);
    record.attempt = row.get("attempt")?;
    record.failures = row.get("failures")?;
    record.crashes = row.get("crashes")?;
    record.snoozes = row.get("snoozes")?;
    record.fence = row.get::<_, Option<i64>>("fence")?.map(|fence| Fence(fence as u64));
    record.result = row.get::<_, Option<Vec<u8>>>("result")?.map(Bytes::from);
    record.errors = errors_of(row.get::<_, Option<String>>("errors")?.as_deref());
    record.reason = row.get::<_, Option<String>>("reason")?.map(Into::into);
    record.cancel_requested = row.get::<_, Option<String>>("cancel")?.map(Into::into);
    record.flushed_into = row.get("flushed_into")?;
    record.updated_at = Timestamp::from_micros(row.get("updated_at")?);
    record.run_at = time(row, "run_at")?;
    record.pending_at = time(row, "pending_at")?;
    record.started_at = time(row, "started_at")?;
    record.completed_at = time(row, "completed_at")?;
    record.server = row.get("server")?;
    let until = row.get::<_, Option<i64>>("until_mono")?.map(Monotonic);
    record.lease_until = until.map(|until| {
        let left = until.since(clock.mono);
        if left.is_zero() { clock.now.before(clock.mono.since(until)) } else { clock.now.after(left) }
    });
    Ok(record)
}
