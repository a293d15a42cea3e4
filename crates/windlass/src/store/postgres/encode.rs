//! How jobs, requests and reports go to the server: arrays with an element for each job, or JSON where there are few.

use std::collections::HashSet;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    job::{
        ErrorEntry, JobSpec, KindFilter, NewJob, News, Pattern, QueueName, Start, Timestamp, UniqueMode, Verdict,
        micros,
    },
    store::{Failure, Finish},
};

/// Between tags, and between a queue and a group or an exclusive key: names hold no control character.
pub(super) const BETWEEN: char = '\u{1f}';

/// Jobs as `enqueue_jobs` takes them.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) ids: Vec<String>,
    pub(super) queues: Vec<String>,
    pub(super) kinds: Vec<String>,
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) tags: Vec<Option<String>>,
    pub(super) headers: Vec<Option<String>>,
    pub(super) tenants: Vec<Option<String>>,
    pub(super) priorities: Vec<i16>,
    pub(super) retries: Vec<i64>,
    pub(super) timeouts: Vec<i64>,
    pub(super) retentions: Vec<i64>,
    pub(super) starts: Vec<i16>,
    pub(super) start_us: Vec<i64>,
    pub(super) deadlines: Vec<Option<i64>>,
    pub(super) keys: Vec<Option<Vec<u8>>>,
    pub(super) ttls: Vec<Option<i64>>,
    pub(super) groups: Vec<Option<String>>,
    pub(super) fresh: Vec<bool>,
    /// None where no job has one.
    pub(super) exclusives: Option<Vec<Option<String>>>,
}

impl Columns {
    pub(super) fn new(jobs: &[NewJob]) -> Self {
        let mut columns = Self::default();
        for job in jobs {
            columns.push(job);
        }
        if jobs.iter().any(|job| job.spec.exclusive.is_some()) {
            columns.exclusives = Some(jobs.iter().map(|job| exclusive(&job.spec)).collect());
        }
        columns
    }

    fn push(&mut self, job: &NewJob) {
        let spec = &*job.spec;
        let (start, start_us) = start(job.start);
        self.ids.push(spec.id.to_string());
        self.queues.push(spec.queue.to_string());
        self.kinds.push(spec.kind.to_string());
        self.payloads.push(spec.payload.to_vec());
        self.tags.push(tags(spec));
        self.headers.push(headers(spec));
        self.tenants.push(spec.tenant.as_deref().map(str::to_owned));
        self.priorities.push(spec.priority.into());
        self.retries.push(spec.max_retry.into());
        self.timeouts.push(micros(spec.timeout));
        self.retentions.push(micros(spec.retention));
        self.starts.push(start);
        self.start_us.push(start_us);
        self.deadlines.push(spec.deadline.map(|deadline| deadline.as_micros()));
        self.keys.push(spec.unique.map(|unique| unique.key.0.to_vec()));
        self.ttls.push(ttl(spec));
        self.groups.push(spec.group.as_deref().map(|group| member_of(&spec.queue, group)));
        self.fresh.push(job.fresh);
    }
}

/// A job as `enqueue_json` takes it.
pub(super) fn job_json(job: &NewJob) -> Value {
    let spec = &*job.spec;
    let (start, start_us) = start(job.start);
    json!({
        "id": spec.id.to_string(), "fresh": job.fresh, "queue": spec.queue, "kind": spec.kind, "payload": BASE64.encode(&spec.payload),
        "tags": tags(spec), "headers": headers(spec), "tenant": spec.tenant, "priority": spec.priority,
        "max_retry": spec.max_retry, "timeout_us": micros(spec.timeout), "retention_us": micros(spec.retention),
        "start": start, "start_us": start_us, "deadline": spec.deadline.map(|deadline| deadline.as_micros()),
        "key": spec.unique.map(|unique| BASE64.encode(&unique.key.0)), "ttl": ttl(spec),
        "member_of": spec.group.as_deref().map(|group| member_of(&spec.queue, group)), "exclusive": exclusive(spec),
    })
}

/// When a job may start: the code of the kind of moment, and which.
pub(super) fn start(start: Start) -> (i16, i64) {
    match start {
        Start::Now => (0, 0),
        Start::At(at) => (1, at.as_micros()),
        Start::In(wait) => (2, micros(wait)),
    }
}

fn tags(spec: &JobSpec) -> Option<String> {
    (!spec.tags.is_empty()).then(|| spec.tags.join("\u{1f}"))
}

fn headers(spec: &JobSpec) -> Option<String> {
    if spec.headers.is_empty() { None } else { serde_json::to_string(&spec.headers).ok() }
}

pub(super) fn ttl(spec: &JobSpec) -> Option<i64> {
    match spec.unique?.mode {
        UniqueMode::Idempotency { ttl } => Some(micros(ttl)),
        UniqueMode::UntilDone => None,
    }
}

/// The name of a group in the column `member_of`.
pub(super) fn member_of(queue: &QueueName, group: &str) -> String {
    format!("{queue}{BETWEEN}{group}")
}

/// The key in the column `exclusive`, which holds in its queue.
fn exclusive(spec: &JobSpec) -> Option<String> {
    spec.exclusive.as_deref().map(|key| format!("{}{BETWEEN}{key}", spec.queue))
}

/// Text that goes into a column: it holds no NUL there.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Patterns as pairs of arrays: the text, and whether it is exact or a prefix.
pub(super) fn patterns<'p>(patterns: impl Iterator<Item = &'p Pattern>) -> (Vec<String>, Vec<bool>) {
    patterns
        .map(|pattern| match pattern {
            Pattern::Exact(text) => (text.to_string(), true),
            Pattern::Prefix(text) => (text.to_string(), false),
        })
        .unzip()
}

/// The patterns of a filter and the room of each.
pub(super) fn rules(kinds: &KindFilter) -> (Vec<String>, Vec<bool>, Vec<Option<i32>>) {
    let (texts, exact) = patterns(kinds.rules.iter().map(|rule| &rule.pattern));
    let rooms = kinds.rules.iter().map(|rule| rule.room.map(|room| i32::try_from(room).unwrap_or(i32::MAX))).collect();
    (texts, exact, rooms)
}

/// Reports as `finish_jobs` takes them.
#[derive(Default)]
pub(super) struct Reports {
    pub(super) ids: Vec<String>,
    pub(super) fences: Vec<i64>,
    pub(super) verdicts: Vec<i16>,
    pub(super) waits: Vec<i64>,
    pub(super) reasons: Vec<Option<String>>,
    pub(super) classes: Vec<Option<String>>,
    pub(super) messages: Vec<Option<String>>,
    pub(super) results: Vec<Option<Vec<u8>>>,
    pub(super) rans: Vec<i64>,
    pub(super) alone: Vec<bool>,
    news: Vec<Value>,
    then: Vec<Value>,
}

impl Reports {
    pub(super) fn new(batch: &[Finish]) -> Self {
        let (mut reports, mut seen) = (Self::default(), HashSet::new());
        let followed = batch.iter().any(|finish| !finish.then.is_empty());
        for finish in batch {
            let again = !seen.insert(&finish.lease);
            reports.push(finish, again || followed);
        }
        reports
    }

    /// `in_turn`: the same run was reported before in this batch, or what follows must come in between two reports, so
    /// they must not meet in one statement.
    fn push(&mut self, finish: &Finish, in_turn: bool) {
        let (verdict, wait, reason) = verdict(&finish.verdict);
        self.ids.push(finish.lease.id.to_string());
        self.fences.push(fence(finish.lease.fence));
        self.verdicts.push(verdict);
        self.waits.push(wait);
        self.reasons.push(reason);
        let class = finish.error.as_ref().and_then(|error| serde_json::to_value(error.class).ok());
        self.classes.push(class.and_then(|class| class.as_str().map(str::to_owned)));
        self.messages.push(finish.error.as_ref().map(message));
        self.results.push(finish.result.as_ref().map(|result| result.to_vec()));
        self.rans.push(micros(finish.ran));
        self.alone.push(in_turn || finish.error.is_some() || !finish.news.is_empty());
        let place = self.ids.len();
        self.news.extend(finish.news.iter().map(|news| news_json(place, news)));
        self.then.extend(finish.then.iter().map(|job| json!([place, job_json(job)])));
    }

    pub(super) fn news(&self) -> String {
        Value::Array(self.news.clone()).to_string()
    }

    pub(super) fn then(&self) -> Option<String> {
        (!self.then.is_empty()).then(|| Value::Array(self.then.clone()).to_string())
    }
}

/// The words of an error as a history keeps them: cut, and without NUL.
fn message(error: &Failure) -> String {
    ErrorEntry::new(Timestamp::default(), 0, error.class, &*error.message).message
}

fn verdict(verdict: &Verdict) -> (i16, i64, Option<String>) {
    match verdict {
        Verdict::Complete => (0, 0, None),
        Verdict::RetryIn(wait) => (1, micros(*wait), None),
        Verdict::Snooze(wait) => (2, micros(*wait), None),
        Verdict::Release => (3, 0, None),
        Verdict::Bury(reason) => (4, 0, Some(reason.as_str().into())),
        Verdict::Cancel(reason) => (5, 0, Some(text(reason))),
    }
}

/// What a run says, with the place of its report among the others.
pub(super) fn news_json(place: usize, news: &News) -> Value {
    let (fraction, message) = news.progress.as_ref().map(|now| (now.fraction, text(&now.message))).unzip();
    let lines: Vec<_> = news.lines.iter().map(|line| json!([line.at.as_micros(), text(&line.text)])).collect();
    let number = i64::try_from(news.number).unwrap_or(i64::MAX);
    json!([place, number, fraction, message, news.checkpoint.as_deref().map(|bytes| BASE64.encode(bytes)), lines])
}

pub(super) fn fence(fence: crate::job::Fence) -> i64 {
    i64::try_from(fence.0).unwrap_or(i64::MAX)
}
