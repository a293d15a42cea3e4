//! What the report shows, gathered from the store's records and statistics. No HTML here.

use std::collections::BTreeMap;

use serde::Serialize;
use windlass::{ErrorEntry, JobRecord, JobState, Timestamp, store::Stats};

use super::{GenerateReport, subject};
use crate::demo::image::Processed;

/// The whole run.
pub(super) struct Numbers {
    pub(super) jobs: Vec<JobRecord>,
    pub(super) stats: Stats,
    pub(super) began: Timestamp,
    /// When the last job but the report ended.
    pub(super) ended: Timestamp,
    pub(super) killed_at: Option<Timestamp>,
    pub(super) held: usize,
    pub(super) rescued_after_ms: Option<u64>,
    pub(super) workers: Vec<WorkerLine>,
}

/// A worker process and what it ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WorkerLine {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) killed: bool,
    pub(super) finished: usize,
    pub(super) rescued: usize,
    #[serde(skip)]
    pub(super) server: String,
}

/// One kind with its counts and times.
#[derive(Clone, Debug, Serialize)]
pub(super) struct KindLine {
    pub(super) kind: String,
    pub(super) jobs: usize,
    pub(super) completed: usize,
    pub(super) running: usize,
    pub(super) dead: usize,
    pub(super) retried: u64,
    pub(super) p50_wait: String,
    pub(super) p99_wait: String,
    pub(super) p50_run: String,
    pub(super) p99_run: String,
    #[serde(skip)]
    pub(super) run_ms: (f64, f64),
}

/// A job that had trouble, with its history.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Trouble {
    id: String,
    kind: String,
    about: String,
    state: &'static str,
    reason: String,
    attempts: u32,
    crashes: u32,
    errors: Vec<ErrorLine>,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorLine {
    at: String,
    attempt: u32,
    class: String,
    message: String,
}

impl Numbers {
    pub(super) fn new(job: &GenerateReport, jobs: Vec<JobRecord>, stats: Stats) -> Self {
        let began = jobs.iter().map(|job| job.created_at).min().unwrap_or_default();
        let ended = jobs.iter().filter_map(|job| job.completed_at).max().unwrap_or(began);
        let workers = job.workers.iter().map(|worker| {
            let own = |job: &&JobRecord| job.server.is_some_and(|id| id.to_string() == worker.server);
            let ended = || jobs.iter().filter(own).filter(|job| job.state.is_terminal());
            WorkerLine {
                name: format!("worker {}", worker.number),
                pid: worker.pid,
                killed: worker.killed,
                finished: ended().count(),
                rescued: ended().filter(|job| job.crashes > 0).count(),
                server: worker.server.clone(),
            }
        });
        let workers = workers.collect();
        let (held, rescued_after_ms) = (job.jobs_held_at_kill, job.rescued_after_ms);
        Self { workers, began, ended, killed_at: job.killed_at, held, rescued_after_ms, jobs, stats }
    }

    /// Seconds from the first enqueue.
    pub(super) fn second(&self, at: Timestamp) -> f64 {
        at.since(self.began).as_secs_f64()
    }

    pub(super) fn count(&self, state: JobState) -> u64 {
        self.stats.by_state[state.code() as usize]
    }

    pub(super) fn rescued(&self) -> usize {
        self.jobs.iter().filter(|job| job.crashes > 0).count()
    }

    pub(super) fn kinds(&self) -> Vec<KindLine> {
        let mut kinds: BTreeMap<&str, Vec<&JobRecord>> = BTreeMap::new();
        self.jobs.iter().for_each(|job| kinds.entry(job.spec.kind.as_str()).or_default().push(job));
        kinds.into_iter().map(|(kind, jobs)| self.kind(kind, &jobs)).collect()
    }

    fn kind(&self, kind: &str, jobs: &[&JobRecord]) -> KindLine {
        let count = |state| jobs.iter().filter(|job| job.state == state).count();
        let stats = self.stats.items.iter().find(|item| item.name == kind);
        let time = |millis: Option<f64>| millis.filter(|ms| *ms > 0.0).map_or_else(|| "–".to_owned(), shown);
        KindLine {
            kind: kind.to_owned(),
            jobs: jobs.len(),
            completed: count(JobState::Completed),
            running: count(JobState::Running),
            dead: count(JobState::Dead),
            retried: stats.map_or(0, |stats| stats.retried),
            p50_wait: time(stats.and_then(|stats| stats.p50_wait_ms)),
            p99_wait: time(stats.and_then(|stats| stats.p99_wait_ms)),
            p50_run: time(stats.and_then(|stats| stats.p50_run_ms)),
            p99_run: time(stats.and_then(|stats| stats.p99_run_ms)),
            run_ms: stats
                .map_or((0.0, 0.0), |stats| (stats.p50_run_ms.unwrap_or(0.0), stats.p99_run_ms.unwrap_or(0.0))),
        }
    }

    /// Jobs in this state, or (none) those that ended well after failures.
    pub(super) fn troubles(&self, dead: bool) -> Vec<Trouble> {
        let chosen = |job: &&JobRecord| match dead {
            true => job.state == JobState::Dead,
            false => job.state == JobState::Completed && (job.failures > 0 || job.crashes > 0),
        };
        self.jobs.iter().filter(chosen).take(100).map(|job| self.trouble(job)).collect()
    }

    fn trouble(&self, job: &JobRecord) -> Trouble {
        let error = |error: &ErrorEntry| ErrorLine {
            at: format!("{:.2} s", self.second(error.at)),
            attempt: error.attempt,
            class: serde_json::to_value(error.class)
                .ok()
                .and_then(|name| Some(name.as_str()?.to_owned()))
                .unwrap_or_default(),
            message: error.message.chars().take(400).collect(),
        };
        Trouble {
            id: job.id().to_string(),
            kind: job.spec.kind.to_string(),
            about: subject(job),
            state: job.state.as_str(),
            reason: job.reason.as_deref().unwrap_or_default().to_owned(),
            attempts: job.attempt,
            crashes: job.crashes,
            errors: job.errors.iter().map(error).collect(),
        }
    }

    /// How many jobs had ended at each moment at which one did.
    pub(super) fn ended_over_time(&self) -> Vec<(f64, f64)> {
        let mut ends: Vec<f64> = self.jobs.iter().filter_map(|job| Some(self.second(job.completed_at?))).collect();
        ends.sort_by(f64::total_cmp);
        ends.into_iter().enumerate().map(|(before, at)| (at, (before + 1) as f64)).collect()
    }

    /// What the pictures that were completed read and wrote.
    pub(super) fn pictures(&self) -> Vec<Processed> {
        let done = self.jobs.iter().filter(|job| job.spec.kind.as_str() == "image:process");
        done.filter_map(|job| serde_json::from_slice(job.result.as_deref()?).ok()).collect()
    }
}

/// Milliseconds for people.
pub(super) fn shown(millis: f64) -> String {
    match millis {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!([shown(1.234), shown(56.7), shown(2345.0)], ["1.2 ms", "57 ms", "2.3 s"]);
    }
}
