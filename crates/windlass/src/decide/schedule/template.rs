//! The job that each tick of a schedule enqueues: all that was asked for, with every default filled in when the schedule
//! was declared, so that every process enqueues the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::job::{JobId, JobSpec, Kind, QueueName, Unique, UniqueKey, UniqueMode};

/// What each job of a schedule is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "JobOptions documents each of them")]
pub struct JobTemplate {
    pub kind: Kind,
    pub queue: QueueName,
    #[serde(with = "payload")]
    pub payload: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Arc<str>>,
    pub priority: i8,
    pub max_retry: u32,
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
    #[serde(rename = "retention_ms", with = "millis")]
    pub retention: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unique: Option<KeptKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A unique key; without a time it holds until its job is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptKey {
    key: String,
    #[serde(default)]
    ttl_ms: Option<u64>,
}

impl JobTemplate {
    /// The template of jobs like this one.
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let unique = spec.unique.map(|unique| KeptKey {
            key: HEXLOWER.encode(&unique.key.0),
            ttl_ms: match unique.mode {
                UniqueMode::UntilDone => None,
                UniqueMode::Idempotency { ttl } => Some(millis::of(ttl)),
            },
        });
        Self {
            kind: spec.kind.clone(),
            queue: spec.queue.clone(),
            payload: spec.payload.clone(),
            tenant: spec.tenant.clone(),
            priority: spec.priority,
            max_retry: spec.max_retry,
            timeout: spec.timeout,
            retention: spec.retention,
            unique,
            group: spec.group.clone(),
            exclusive: spec.exclusive.clone(),
            tags: spec.tags.clone(),
            headers: spec.headers.clone(),
        }
    }

    /// A job of it.
    pub(super) fn spec(&self, id: JobId) -> Result<JobSpec, String> {
        Ok(JobSpec {
            id,
            kind: self.kind.clone(),
            queue: self.queue.clone(),
            payload: self.payload.clone(),
            tenant: self.tenant.clone(),
            priority: self.priority,
            max_retry: self.max_retry,
            timeout: self.timeout,
            deadline: None,
            retention: self.retention,
            unique: self.unique.as_ref().map(KeptKey::unique).transpose()?,
            group: self.group.clone(),
            exclusive: self.exclusive.clone(),
            tags: self.tags.clone(),
            headers: self.headers.clone(),
        })
    }
}

impl KeptKey {
    fn unique(&self) -> Result<Unique, String> {
        let bytes = HEXLOWER.decode(self.key.as_bytes()).map_err(|error| format!("its unique key: {error}"))?;
        let key = bytes.try_into().map_err(|_| "its unique key has another length than keys have".to_owned())?;
        let mode = match self.ttl_ms {
            None => UniqueMode::UntilDone,
            Some(ttl) => UniqueMode::Idempotency { ttl: Duration::from_millis(ttl) },
        };
        Ok(Unique { key: UniqueKey(key), mode })
    }
}

/// Durations as whole milliseconds.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn of(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(of(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Text as text, and other bytes as base64.
mod payload {
    use bytes::Bytes;
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form<'a> {
        Text(std::borrow::Cow<'a, str>),
        Bytes { base64: String },
    }

    pub(super) fn serialize<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match std::str::from_utf8(payload) {
            Ok(text) => Form::Text(text.into()),
            Err(_) => Form::Bytes { base64: BASE64.encode(payload) },
        };
        form.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(text.into_owned().into()),
            Form::Bytes { base64 } => BASE64.decode(base64.as_bytes()).map(Into::into).map_err(D::Error::custom),
        }
    }
}
