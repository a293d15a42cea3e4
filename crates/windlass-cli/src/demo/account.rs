//! Holds what is in the store and in the folder for results against the plan. What does not agree is said in a
//! sentence each; no sentence means that every job is accounted for.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use windlass::{Job, JobId, JobRecord, JobState, store::Stats};

use super::{
    email::{SendEmail, Sent},
    image::{ProcessImage, Processed},
    outdir::{CSV, REPORT},
    plan::Started,
};

/// What should have come of it.
pub(super) struct Expected<'a> {
    pub(super) started: &'a Started,
    pub(super) report: Option<&'a JobId>,
    /// The user's own pictures may be unreadable: then they are to end buried.
    pub(super) own_pictures: bool,
    pub(super) out: &'a Path,
}

/// What is missing or was not expected.
pub(super) fn missing(jobs: &[JobRecord], stats: &Stats, expected: &Expected<'_>) -> Vec<String> {
    let mut missing = counts(jobs, stats);
    let found: HashMap<&JobId, &JobRecord> = jobs.iter().map(|job| (job.id(), job)).collect();
    let gone = expected.started.ids.iter().chain(expected.report).filter(|id| !found.contains_key(id));
    missing.extend(gone.map(|id| format!("job {id} was enqueued and is not in the store")));
    missing.extend(jobs.iter().filter_map(|job| unexpected(job, expected)));
    missing.extend(follow_ups(jobs, expected));
    missing.extend(jobs.iter().flat_map(|job| files(job, expected.out)));
    if expected.report.is_some() {
        let absent = [REPORT, CSV].into_iter().filter(|name| !expected.out.join(name).is_file());
        missing.extend(absent.map(|name| format!("{name} was not written")));
    } else {
        missing.push("the report was not made, because the jobs before it had not all ended".into());
    }
    missing
}

fn counts(jobs: &[JobRecord], stats: &Stats) -> Vec<String> {
    let mut wrong = Vec::new();
    if stats.enqueued != jobs.len() as u64 {
        wrong.push(format!("the store counts {} jobs and lists {}", stats.enqueued, jobs.len()));
    }
    for state in [JobState::Completed, JobState::Dead, JobState::Cancelled] {
        let listed = jobs.iter().filter(|job| job.state == state).count() as u64;
        let counted = stats.by_state[state.code() as usize];
        if listed != counted {
            wrong.push(format!("the store counts {counted} {state} jobs and lists {listed}"));
        }
    }
    let completed = stats.by_state[JobState::Completed.code() as usize];
    if stats.completed != completed {
        wrong.push(format!("the statistics say {} completed jobs and the store holds {completed}", stats.completed));
    }
    wrong
}

/// A job that did not end as it should have.
fn unexpected(job: &JobRecord, expected: &Expected<'_>) -> Option<String> {
    let doom = expected.started.doomed.iter().find(|(id, _)| id == job.id()).map(|(_, doom)| doom.reason());
    let (id, kind, state) = (job.id(), &job.spec.kind, job.state);
    match (state, doom) {
        (JobState::Dead, Some(reason)) if job.reason.as_deref() == Some(reason) => None,
        (_, Some(reason)) => Some(format!("{kind} {id} is {state} and was to end dead ({reason})")),
        (JobState::Completed, None) => None,
        (JobState::Dead, None) if is_unreadable(job, expected.own_pictures) => None,
        (JobState::Dead, None) => {
            let why = job.errors.last().map_or("no error is recorded", |error| &error.message);
            Some(format!("{kind} {id} ended dead, which was not planned: {why}"))
        }
        _ => Some(format!("{kind} {id} is {state}; it was to be completed")),
    }
}

/// Whether the job is a picture of the user's that could not be read: shown, but no failure of the demo.
pub(super) fn is_unreadable(job: &JobRecord, own_pictures: bool) -> bool {
    own_pictures && is::<ProcessImage>(job) && job.reason.as_deref() == Some("buried")
}

/// Every completed picture that has a mail to send has sent one, once.
fn follow_ups(jobs: &[JobRecord], expected: &Expected<'_>) -> Option<String> {
    let planned: HashSet<&JobId> = expected.started.ids.iter().collect();
    let sent = jobs.iter().filter(|job| is::<SendEmail>(job) && !planned.contains(job.id())).count();
    let notifies = |job: &&JobRecord| {
        let payload = serde_json::from_slice::<ProcessImage>(&job.spec.payload);
        is::<ProcessImage>(job) && job.state == JobState::Completed && payload.is_ok_and(|p| p.notify_to.is_some())
    };
    let due = jobs.iter().filter(notifies).count();
    (sent != due)
        .then(|| format!("{due} completed pictures have a mail to send, and {sent} such mails are in the store"))
}

/// The files that a completed job says it wrote, where they are not there.
fn files(job: &JobRecord, out: &Path) -> Vec<String> {
    let Some(result) = job.result.as_deref().filter(|_| job.state == JobState::Completed) else { return Vec::new() };
    let names: Vec<String> = if is::<ProcessImage>(job) {
        serde_json::from_slice::<Processed>(result)
            .map_or_else(|_| Vec::new(), |done| done.files.into_iter().map(|file| file.name).collect())
    } else if is::<SendEmail>(job) {
        serde_json::from_slice::<Sent>(result).ok().and_then(|sent| sent.file).into_iter().collect()
    } else {
        Vec::new()
    };
    let absent = names.into_iter().filter(|name| !out.join(name).is_file());
    absent.map(|name| format!("job {} wrote {name}, which is not there", job.id())).collect()
}

fn is<J: Job>(job: &JobRecord) -> bool {
    job.spec.kind.as_str() == J::KIND
}
