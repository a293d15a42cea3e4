//! The options of a job: each declared, documented and defaulted here, once.
//!
//! Precedence, resolved at enqueue: the call > the job's type > the client's defaults for the queue > the client's
//! defaults > [`DEFAULTS`]. A server sets the retry policy and may only shorten a timeout.
//!
//! To add an option that no query filters on: a field here, a line in `resolve`, and the place that uses it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde::Serialize;

use super::{
    InvalidJob, JobId, JobSpec, Kind, NewJob, QueueName, Start, Timestamp, Unique, UniqueMode, id::check_name, unique,
};

/// What holds when nobody says otherwise.
///
/// | option | default | set by |
/// | --- | --- | --- |
/// | queue | `default` | call, job, client |
/// | priority | 0 (-100..=100, higher first) | call, job, client |
/// | max_retry | 25 | call, job, client |
/// | timeout | 30 min | call, job, client; a server may shorten it |
/// | retention of a completed job | 0: removed at once, its numbers stay in the statistics | call, job, client |
/// | payload | at most 1 MiB | client |
/// | lease | 10 s, renewed every third of it | server |
/// | poison after | 3 crashes | server |
/// | wait after the n-th failure | Asynq's: (n-1)^4 + 15 + rand(30) * n seconds | server |
/// | concurrency | 10 | server |
/// | shutdown timeout | 25 s | server |
/// | grace after a cancel or timeout | 5 s | server |
/// | unknown kind is dead after | 24 h | server |
/// | dead and cancelled jobs are kept | 90 days | store, by URL |
/// | errors kept of a job | the 10 newest, each at most 8 KiB | - |
/// | log lines kept of a job | the 100 newest, each at most 1 KiB | - |
/// | checkpoint | at most 256 KiB | - |
/// | retention of a job that somebody waits for ([`enqueue_and_wait`](crate::Client::enqueue_and_wait)) | at least 60 s | call, job, client |
pub const DEFAULTS: Defaults = Defaults {
    queue: "default",
    priority: 0,
    max_retry: 25,
    timeout: Duration::from_secs(30 * 60),
    retention: Duration::ZERO,
    max_payload_bytes: 1024 * 1024,
    lease: Duration::from_secs(10),
    poison_after: 3,
    concurrency: 10,
    shutdown_timeout: Duration::from_secs(25),
    grace: Duration::from_secs(5),
    unknown_kind_after: Duration::from_secs(24 * 3600),
    keep_failed: Duration::from_secs(90 * 24 * 3600),
    errors_kept: 10,
    error_bytes: 8 * 1024,
    result_bytes: 1024 * 1024,
    lines_kept: 100,
    line_bytes: 1024,
    checkpoint_bytes: 256 * 1024,
    waited_retention: Duration::from_secs(60),
};

/// The shape of [`DEFAULTS`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the table on DEFAULTS says what each one is")]
pub struct Defaults {
    pub queue: &'static str,
    pub priority: i8,
    pub max_retry: u32,
    pub timeout: Duration,
    pub retention: Duration,
    pub max_payload_bytes: usize,
    pub lease: Duration,
    pub poison_after: u32,
    pub concurrency: usize,
    pub shutdown_timeout: Duration,
    pub grace: Duration,
    pub unknown_kind_after: Duration,
    pub keep_failed: Duration,
    pub errors_kept: usize,
    pub error_bytes: usize,
    pub result_bytes: usize,
    pub lines_kept: usize,
    pub line_bytes: usize,
    pub checkpoint_bytes: usize,
    pub waited_retention: Duration,
}

/// The lowest and highest priority.
pub const PRIORITIES: std::ops::RangeInclusive<i8> = -100..=100;

/// What a caller, a job type or a client says about a job. Whatever is left out comes from the next in line;
/// see [`DEFAULTS`] for the table and the precedence.
///
/// ```
/// use std::time::Duration;
/// use windlass::JobOptions;
/// let options = JobOptions::new().queue("low").timeout(Duration::from_secs(600)).tag("nightly");
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct JobOptions {
    pub(crate) queue: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) priority: Option<i32>,
    pub(crate) max_retry: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) start: Option<Start>,
    pub(crate) retention: Option<Duration>,
    pub(crate) id: Option<String>,
    pub(crate) unique: Option<UniqueOption>,
    pub(crate) group: Option<String>,
    pub(crate) exclusive: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub(crate) struct UniqueOption {
    mode: UniqueMode,
    value: Result<serde_json::Value, String>,
}

impl JobOptions {
    /// Options that say nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The line in which the job waits. Default: `default`.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// On whose behalf the job runs. Default: nobody's.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// -100 to 100, higher first. Default: 0.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How many times a failed job is tried again; 0 means a single attempt. A crash of the process, a snooze and a
    /// release are no attempts. Default: 25.
    #[must_use]
    pub fn max_retry(mut self, max_retry: u32) -> Self {
        self.max_retry = Some(max_retry);
        self
    }

    /// How long one attempt may run before its handler is told to stop. Default: 30 minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The moment after which the job must not start, and at which a running attempt is stopped. A job that has not
    /// started by then is dead (`deadline`). Default: none.
    #[must_use]
    pub fn deadline(mut self, deadline: impl Into<Timestamp>) -> Self {
        self.deadline = Some(deadline.into());
        self
    }

    /// Wait until this moment of the store's clock.
    #[must_use]
    pub fn process_at(mut self, at: SystemTime) -> Self {
        self.start = Some(Start::At(at.into()));
        self
    }

    /// Wait this long, by the store's clock, so the caller's clock does not matter.
    #[must_use]
    pub fn process_in(mut self, wait: Duration) -> Self {
        self.start = Some(Start::In(wait));
        self
    }

    /// How long the completed job stays readable, with its result. Default: zero, it is removed at once.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// The job's id, instead of a new UUIDv7. An id that the store holds already makes the call a duplicate.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// One more tag, for people and filters.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// One more header: trace context, codec, what the handler's middleware reads.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Refuse a second job with the same key; see [`Unique`](crate::UniqueBy).
    #[must_use]
    pub fn unique(mut self, unique: UniqueBy) -> Self {
        self.unique = Some(UniqueOption { mode: unique.mode, value: unique.value });
        self
    }

    /// Wait with the other jobs of this group and queue, of any kind, until a server's aggregator makes one job of
    /// them; see [`Server::aggregate`](crate::Server::aggregate). With a delay it joins the group when that is over.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Run at most one job with this key at a time, whatever its kind, in all processes together. Of the jobs with one
    /// key in one queue, one stands in line or runs; the others are [blocked](crate::JobState::Blocked) until it has
    /// ended, or waits for its next attempt. Then the one of the highest priority, and of those the one that was
    /// blocked first, goes to the end of the line. A key holds in its queue; it is no name of a [lock](crate::Client::lock).
    ///
    /// A job whose process vanished keeps its key until it was rescued and has run again. As with all jobs, a process
    /// that was frozen can go on beside its successor; what it reports is refused. What must not be written twice is
    /// guarded by the job's [fence](crate::JobContext::fence).
    #[must_use]
    pub fn exclusive(mut self, key: impl Into<String>) -> Self {
        self.exclusive = Some(key.into());
        self
    }

    /// These options, with `lower` filling in what they leave out. Tags are joined, headers too (ours win).
    #[must_use]
    pub fn or(mut self, lower: JobOptions) -> Self {
        self.queue = self.queue.or(lower.queue);
        self.tenant = self.tenant.or(lower.tenant);
        self.priority = self.priority.or(lower.priority);
        self.max_retry = self.max_retry.or(lower.max_retry);
        self.timeout = self.timeout.or(lower.timeout);
        self.deadline = self.deadline.or(lower.deadline);
        self.start = self.start.or(lower.start);
        self.retention = self.retention.or(lower.retention);
        self.id = self.id.or(lower.id);
        self.unique = self.unique.or(lower.unique);
        self.group = self.group.or(lower.group);
        self.exclusive = self.exclusive.or(lower.exclusive);
        for tag in lower.tags {
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
        for (name, value) in lower.headers {
            self.headers.entry(name).or_insert(value);
        }
        self
    }

    /// The job that these options, a kind and a payload make, with every default filled in and every value checked.
    ///
    /// # Errors
    /// [`InvalidJob`] names the value and says what it may be.
    pub fn resolve(
        self,
        kind: &Kind,
        payload: Bytes,
        new_id: impl FnOnce() -> JobId,
        max_payload_bytes: usize,
    ) -> Result<NewJob, InvalidJob> {
        if payload.len() > max_payload_bytes {
            return Err(InvalidJob::PayloadTooLarge { bytes: payload.len(), limit: max_payload_bytes });
        }
        let priority = self.priority.unwrap_or(DEFAULTS.priority.into());
        let priority = i8::try_from(priority)
            .ok()
            .filter(|priority| PRIORITIES.contains(priority))
            .ok_or(InvalidJob::Priority(priority))?;
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(InvalidJob::Timeout);
        }
        if let Some(tenant) = &self.tenant {
            check_name("tenant", tenant)?;
        }
        if let Some(group) = &self.group {
            check_name("group", group)?;
        }
        if let Some(key) = &self.exclusive {
            check_name("exclusive key", key)?;
        }
        if self.group.is_some() && self.exclusive.is_some() {
            return Err(InvalidJob::ExclusiveInGroup);
        }
        check_extras(&self.tags, &self.headers)?;
        let tenant: Option<Arc<str>> = self.tenant.map(Into::into);
        let unique = match self.unique {
            None => None,
            Some(option) => {
                let value = option.value.map_err(InvalidJob::UniqueKey)?;
                Some(Unique { key: unique::key(kind.as_str(), tenant.as_deref(), &value), mode: option.mode })
            }
        };
        let fresh = self.id.is_none();
        let id = match self.id {
            Some(id) => id.parse()?,
            None => new_id(),
        };
        let spec = JobSpec {
            id,
            kind: kind.clone(),
            queue: QueueName::new(self.queue.as_deref().unwrap_or(DEFAULTS.queue))?,
            payload,
            tenant,
            priority,
            max_retry: self.max_retry.unwrap_or(DEFAULTS.max_retry),
            timeout: self.timeout.unwrap_or(DEFAULTS.timeout),
            deadline: self.deadline,
            retention: self.retention.unwrap_or(DEFAULTS.retention),
            unique,
            group: self.group.map(Into::into),
            exclusive: self.exclusive.map(Into::into),
            tags: self.tags,
            headers: self.headers,
        };
        Ok(NewJob { spec: Arc::new(spec), start: self.start.unwrap_or(Start::Now), fresh })
    }
}

/// The most tags or headers of a job, and the most bytes of a header's value.
const MAX_EXTRAS: usize = 64;
const MAX_HEADER_BYTES: usize = 8 * 1024;

fn check_extras(tags: &[String], headers: &BTreeMap<String, String>) -> Result<(), InvalidJob> {
    if tags.len() > MAX_EXTRAS || headers.len() > MAX_EXTRAS {
        return Err(InvalidJob::TooManyExtras(MAX_EXTRAS));
    }
    for tag in tags {
        check_name("tag", tag)?;
    }
    for (name, value) in headers {
        check_name("header name", name)?;
        if value.len() > MAX_HEADER_BYTES {
            return Err(InvalidJob::HeaderTooLarge { name: name.clone(), limit: MAX_HEADER_BYTES });
        }
    }
    Ok(())
}

/// When a second job with the same key is refused. The key is the job's kind, its tenant and any value that
/// serializes; the order of fields and the writing of numbers do not matter.
///
/// ```
/// use std::time::Duration;
/// use windlass::{JobOptions, UniqueBy};
/// let once_at_a_time = JobOptions::new().unique(UniqueBy::until_done(&"https://example.com/a.png"));
/// let once_an_hour = JobOptions::new().unique(UniqueBy::idempotency(&42, Duration::from_secs(3600)));
/// ```
#[derive(Clone, Debug)]
pub struct UniqueBy {
    mode: UniqueMode,
    value: Result<serde_json::Value, String>,
}

impl UniqueBy {
    /// From enqueue to `ttl` later, whatever happens to the job.
    pub fn idempotency(key: &(impl Serialize + ?Sized), ttl: Duration) -> Self {
        Self { mode: UniqueMode::Idempotency { ttl }, value: to_value(key) }
    }

    /// From enqueue until the job is completed, dead, cancelled or deleted; through retries, snoozes and crashes.
    pub fn until_done(key: &(impl Serialize + ?Sized)) -> Self {
        Self { mode: UniqueMode::UntilDone, value: to_value(key) }
    }
}

fn to_value(key: &(impl Serialize + ?Sized)) -> Result<serde_json::Value, String> {
    serde_json::to_value(key).map_err(|error| error.to_string())
}
