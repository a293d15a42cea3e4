//! What both sides are asked to do, in words of neither.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::{JobOptions, Timestamp, UniqueBy};

/// How long failed jobs wait, in seconds: what Asynq's default comes to for a first failure, without its chance.
pub(crate) const RETRY: u64 = 30;

/// An option of a new job. Times are seconds, moments milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opt {
    MaxRetry(u32),
    Timeout(u64),
    Deadline(u64),
    At(u64),
    In(u64),
    Retain(u64),
    Group(&'static str),
    Header(&'static str, &'static str),
    Payload(&'static str),
    /// Until it is done, for ours.
    Unique(u64),
    /// Go has no word for it, and leaves it out.
    Exclusive(&'static str),
}

/// A step. Those that name a job name it by its id.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Enqueue(&'static str, &'static [Opt]),
    /// Go's client brings it in on both sides.
    EnqueueByGo(&'static str, &'static [Opt]),
    /// A worker starts, if none runs, and takes the job.
    Claim(&'static str),
    /// A worker of Go's takes it on both sides.
    ClaimByGo(&'static str),
    /// The worker's next sign of life renews the lease.
    Extend(&'static str),
    Complete(&'static str),
    Fail(&'static str),
    /// It fails and is not tried again.
    Skip(&'static str),
    /// It goes on later and nothing has failed.
    Snooze(&'static str),
    /// Somebody cancels the run by Asynq's inspector.
    CancelByGo(&'static str),
    /// The worker shuts down while it runs the job.
    Release(&'static str),
    /// The worker's process is killed, and its leases run out.
    Kill(&'static str),
    /// Somebody sweeps after that.
    Recover(&'static str),
    /// The worker ends; it runs nothing.
    Leave,
    Pause,
    Unpause,
    /// The job becomes due and is put into line.
    Promote(&'static str),
    /// An operator's wishes.
    Run(&'static str),
    Archive(&'static str),
    /// The words of ours; Go archives.
    Cancel(&'static str),
    Delete(&'static str),
    Edit(&'static str, &'static str),
    /// The members of the group become one job `sum`.
    Flush(&'static str),
    /// A completed job's retention ends.
    Prune(&'static str),
}

impl Step {
    /// The step in the list of differences.
    pub(crate) fn name(&self) -> String {
        let shown = format!("{self:?}");
        let word = shown.split('(').next().unwrap_or_default();
        let mut name = String::new();
        for letter in word.chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }
}

/// The command that brings a job in by Go's client.
pub(crate) fn of_go(id: &str, options: &[Opt]) -> Value {
    let mut command = json!({"do": "enqueue", "queue": "q", "id": id, "kind": "hold", "payload": "{}"});
    for option in options {
        let (name, value) = match *option {
            Opt::MaxRetry(times) => ("max_retry", json!(times)),
            Opt::Timeout(seconds) => ("timeout_ms", json!(seconds * 1000)),
            Opt::Deadline(at) => ("deadline_ms", json!(at)),
            Opt::At(at) => ("at_ms", json!(at)),
            Opt::In(seconds) => ("in_ms", json!(seconds * 1000)),
            Opt::Retain(seconds) => ("retain_ms", json!(seconds * 1000)),
            Opt::Group(group) => ("group", json!(group)),
            Opt::Header(name, value) => ("headers", json!({name: value})),
            Opt::Payload(payload) => ("payload", json!(payload)),
            Opt::Unique(seconds) => ("unique_ms", json!(seconds * 1000)),
            Opt::Exclusive(_) => continue,
        };
        command[name] = value;
    }
    command
}

/// The same as options of ours, and the payload.
pub(crate) fn of_rust(id: &str, options: &[Opt]) -> (JobOptions, &'static str) {
    let moment = |millis: u64| Timestamp::from_micros(i64::try_from(millis).expect("a moment") * 1000);
    let mut payload = "{}";
    let mut built = JobOptions::new().id(id).queue("q");
    for option in options {
        built = match *option {
            Opt::MaxRetry(times) => built.max_retry(times),
            Opt::Timeout(seconds) => built.timeout(Duration::from_secs(seconds)),
            Opt::Deadline(at) => built.deadline(moment(at)),
            Opt::At(at) => built.process_at(std::time::UNIX_EPOCH + Duration::from_millis(at)),
            Opt::In(seconds) => built.process_in(Duration::from_secs(seconds)),
            Opt::Retain(seconds) => built.retention(Duration::from_secs(seconds)),
            Opt::Group(group) => built.group(group),
            Opt::Header(name, value) => built.header(name, value),
            Opt::Payload(text) => {
                payload = text;
                built
            }
            Opt::Unique(_) => built.unique(UniqueBy::until_done(payload)),
            Opt::Exclusive(key) => built.exclusive(key),
        };
    }
    (built, payload)
}

#[test]
fn steps_have_names() {
    assert_eq!(Step::EnqueueByGo("a", &[]).name(), "enqueue_by_go");
    assert_eq!(Step::Pause.name(), "pause");
}
