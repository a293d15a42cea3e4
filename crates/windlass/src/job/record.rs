//! A job as it is asked for ([`NewJob`]), as it is kept ([`JobRecord`]), and the right to run it ([`Lease`]).

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Serialize, ser::SerializeMap};

use super::{ErrorEntry, JobId, Kind, LogLine, Progress, QueueName, ServerId, State, Timestamp};

/// A number that rises with every claim of a store: the newest holder of a job has the highest. Sent as a decimal
/// string in JSON, since it passes 2^53.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence({})", self.0)
    }
}

impl Serialize for Fence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The right to report on one run of a job. Whoever holds an older fence is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The claim.
    pub fence: Fence,
}

/// The hash of what a job is unique by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UniqueKey(pub [u8; 16]);

impl fmt::Display for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UniqueKey({self})")
    }
}

/// A unique key and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The key.
    pub key: UniqueKey,
    /// How long it holds.
    pub mode: UniqueMode,
}

/// How long a unique key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UniqueMode {
    /// From enqueue until the job's life is over.
    UntilDone,
    /// From enqueue until `ttl` later, whatever happens.
    Idempotency {
        /// How long.
        ttl: Duration,
    },
}

/// When a job may first run. The store adds its own clock to `In`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// At a moment of the wall clock; a past one means at once.
    At(Timestamp),
    /// After this long.
    In(Duration),
}

/// What was asked for. It does not change while the job lives, unless an operator edits the payload.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "JobOptions documents each of them")]
pub struct JobSpec {
    pub id: JobId,
    pub kind: Kind,
    pub queue: QueueName,
    pub payload: Bytes,
    pub tenant: Option<Arc<str>>,
    pub priority: i8,
    pub max_retry: u32,
    pub timeout: Duration,
    pub deadline: Option<Timestamp>,
    pub retention: Duration,
    pub unique: Option<Unique>,
    pub group: Option<Arc<str>>,
    pub exclusive: Option<Arc<str>>,
    pub tags: Vec<String>,
    pub headers: BTreeMap<String, String>,
}

/// A job on its way into a store, checked and with every default filled in.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What to run.
    pub spec: Arc<JobSpec>,
    /// When.
    pub start: Start,
    /// Whether its id was made for it and no store has been asked to take it yet, so that none need look for the id
    /// among the jobs that have ended. Whoever asks again, since no answer came, says no.
    pub fresh: bool,
}

/// A job as a store knows it: what was asked for and all that happened since. Serializes as the `JOB` document of
/// the command line.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::{Client, RawJob};
/// let client = Client::open("memory:").await?;
/// let queued = client.enqueue(RawJob::new("email:send", "{}").with(|o| o.priority(5))).await?;
/// let job = client.inspect(queued.id()).await?;
/// assert_eq!((job.state.as_str(), job.attempt, job.spec.priority), ("pending", 0, 5));
/// println!("{}", serde_json::to_string_pretty(&job)?); // the document of `windlass job inspect --json`
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobRecord {
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// Where it is now.
    pub state: State,
    /// The number of the current or last run; 0 before the first. A run after a crash, snooze or release repeats it.
    pub attempt: u32,
    /// Attempts that failed since it was enqueued or redriven.
    pub failures: u32,
    /// Times its holder vanished since it was enqueued or redriven.
    pub crashes: u32,
    /// Times it was put off.
    pub snoozes: u32,
    /// The newest claim, if there was one.
    pub fence: Option<Fence>,
    /// How far its current or last run said that it is.
    pub progress: Option<Progress>,
    /// From where its next run goes on. Listings leave it out.
    pub checkpoint: Option<Bytes>,
    /// The newest hundred lines that its runs logged, oldest first. Listings leave them out.
    pub log: Vec<LogLine>,
    /// What the handler returned.
    pub result: Option<Bytes>,
    /// The newest errors, oldest first.
    pub errors: Vec<ErrorEntry>,
    /// Why it is dead or cancelled.
    pub reason: Option<Arc<str>>,
    /// Set while it runs and somebody has asked for it to be cancelled.
    pub cancel_requested: Option<Arc<str>>,
    /// The job that it became a part of, when its group was flushed.
    pub flushed_into: Option<JobId>,
    /// While it is blocked: the job that holds its exclusive key. Listings leave it out.
    pub waits_for: Option<JobId>,
    /// When it came in.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// When it is due, while it is scheduled or retrying.
    pub run_at: Option<Timestamp>,
    /// When it was last put in line, into its group, or was blocked.
    pub pending_at: Option<Timestamp>,
    /// When its current or last run began.
    pub started_at: Option<Timestamp>,
    /// When it was completed, dead or cancelled.
    pub completed_at: Option<Timestamp>,
    /// When its lease lapses, while it runs, as the wall clock stands now.
    pub lease_until: Option<Timestamp>,
    /// Who runs it, or ran it last.
    pub server: Option<ServerId>,
}

impl JobRecord {
    /// A record of a job that has just come in.
    pub fn new(spec: Arc<JobSpec>, state: State, at: Timestamp) -> Self {
        Self {
            spec,
            state,
            attempt: 0,
            failures: 0,
            crashes: 0,
            snoozes: 0,
            fence: None,
            progress: None,
            checkpoint: None,
            log: Vec::new(),
            result: None,
            errors: Vec::new(),
            reason: None,
            cancel_requested: None,
            flushed_into: None,
            waits_for: None,
            created_at: at,
            updated_at: at,
            run_at: None,
            pending_at: None,
            started_at: None,
            completed_at: None,
            lease_until: None,
            server: None,
        }
    }

    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.spec.id
    }
}

impl Serialize for JobRecord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spec = &*self.spec;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &spec.id)?;
        map.serialize_entry("kind", &spec.kind)?;
        map.serialize_entry("queue", &spec.queue)?;
        map.serialize_entry("tenant", &spec.tenant)?;
        map.serialize_entry("state", &self.state)?;
        map.serialize_entry("status", &self.state.status())?;
        match serde_json::from_slice::<&serde_json::value::RawValue>(&spec.payload) {
            Ok(json) => map.serialize_entry("payload", json)?,
            Err(_) => map.serialize_entry("payload_base64", &BASE64.encode(&spec.payload))?,
        }
        map.serialize_entry("headers", &spec.headers)?;
        map.serialize_entry("tags", &spec.tags)?;
        map.serialize_entry("priority", &spec.priority)?;
        map.serialize_entry("max_retry", &spec.max_retry)?;
        map.serialize_entry("timeout_ms", &millis(spec.timeout))?;
        map.serialize_entry("deadline", &spec.deadline)?;
        map.serialize_entry("retention_ms", &millis(spec.retention))?;
        map.serialize_entry("unique_key", &spec.unique.map(|unique| unique.key.to_string()))?;
        map.serialize_entry("group", &spec.group)?;
        map.serialize_entry("exclusive", &spec.exclusive)?;
        map.serialize_entry("attempt", &self.attempt)?;
        map.serialize_entry("failures", &self.failures)?;
        map.serialize_entry("crashes", &self.crashes)?;
        map.serialize_entry("snoozes", &self.snoozes)?;
        map.serialize_entry("fence", &self.fence)?;
        map.serialize_entry("progress", &self.progress.as_ref().map(|progress| progress.fraction))?;
        let message = self.progress.as_ref().map(|progress| &*progress.message).filter(|message| !message.is_empty());
        map.serialize_entry("progress_message", &message)?;
        map.serialize_entry("log", &self.log)?;
        bytes_entry(&mut map, "checkpoint", self.checkpoint.as_deref())?;
        bytes_entry(&mut map, "result", self.result.as_deref())?;
        map.serialize_entry("errors", &self.errors)?;
        map.serialize_entry("reason", &self.reason)?;
        map.serialize_entry("cancel_requested", &self.cancel_requested)?;
        map.serialize_entry("flushed_into", &self.flushed_into)?;
        map.serialize_entry("waits_for", &self.waits_for)?;
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("updated_at", &self.updated_at)?;
        map.serialize_entry("run_at", &self.run_at)?;
        map.serialize_entry("started_at", &self.started_at)?;
        map.serialize_entry("completed_at", &self.completed_at)?;
        map.serialize_entry("lease_until", &self.lease_until)?;
        map.serialize_entry("server", &self.server)?;
        map.end()
    }
}

/// Bytes as the JSON that they are, else as text.
fn bytes_entry<M: SerializeMap>(map: &mut M, name: &str, bytes: Option<&[u8]>) -> Result<(), M::Error> {
    match bytes.map(serde_json::from_slice::<&serde_json::value::RawValue>) {
        Some(Ok(json)) => map.serialize_entry(name, json),
        Some(Err(_)) => map.serialize_entry(name, &String::from_utf8_lossy(bytes.unwrap_or_default())),
        None => map.serialize_entry(name, &None::<()>),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
