//! The end of the demo: the numbers as a table or as one JSON document. They are the store's own numbers, so
//! `windlass stats --json` on the same store agrees.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use serde::Serialize;
use windlass::{JobRecord, JobState, Monotonic, Timestamp, store::Stats};

use super::{
    account,
    outdir::{CSV, REPORT},
    plan::Started,
    report::subject,
    screen::Paint,
};

/// The worker that was killed.
#[derive(Clone, Debug)]
pub(super) struct Killed {
    pub(super) number: usize,
    pub(super) pid: u32,
    pub(super) at: Monotonic,
    pub(super) wall: Timestamp,
    /// How many jobs it held.
    pub(super) held: usize,
    /// When the last of them ran again, counted from the kill.
    pub(super) back_after_ms: Option<u64>,
}

/// The document that `demo --json` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    pub(super) ok: bool,
    jobs: u64,
    completed: u64,
    dead: u64,
    cancelled: u64,
    /// Attempts that failed and were tried again, as in `stats`.
    retried: u64,
    /// Jobs that were taken over from the killed worker.
    rescued: u64,
    lost: u64,
    killed_pid: Option<u32>,
    rescued_after_ms: Option<u64>,
    seconds: f64,
    by_kind: BTreeMap<String, OfKind>,
    dead_jobs: Vec<DeadJob>,
    missing: Vec<String>,
    dir: PathBuf,
    store: String,
    files: Vec<PathBuf>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct OfKind {
    jobs: u64,
    completed: u64,
    dead: u64,
    retried: u64,
}

#[derive(Clone, Debug, Serialize)]
struct DeadJob {
    id: String,
    kind: String,
    about: String,
    reason: String,
    attempts: u32,
    error: String,
    planned: bool,
    /// A picture of the user's that could not be read.
    unreadable: bool,
}

/// What the summary says beside the jobs.
pub(super) struct Facts {
    pub(super) missing: Vec<String>,
    pub(super) files: Vec<PathBuf>,
    pub(super) killed: Option<Killed>,
    pub(super) dir: PathBuf,
    pub(super) store: String,
    pub(super) seconds: f64,
    pub(super) own_pictures: bool,
}

impl Summary {
    pub(super) fn new(jobs: &[JobRecord], stats: &Stats, started: &Started, facts: Facts) -> Self {
        let count = |state: JobState| stats.by_state[state.code() as usize];
        let ended = count(JobState::Completed) + count(JobState::Dead) + count(JobState::Cancelled);
        let planned = |job: &JobRecord| started.doomed.iter().any(|(id, _)| id == job.id());
        let dead = jobs.iter().filter(|job| job.state == JobState::Dead);
        Self {
            ok: facts.missing.is_empty(),
            jobs: stats.enqueued,
            completed: count(JobState::Completed),
            dead: count(JobState::Dead),
            cancelled: count(JobState::Cancelled),
            retried: stats.retried,
            rescued: jobs.iter().filter(|job| job.crashes > 0).count() as u64,
            lost: stats.enqueued.saturating_sub(ended),
            killed_pid: facts.killed.as_ref().map(|killed| killed.pid),
            rescued_after_ms: facts.killed.and_then(|killed| killed.back_after_ms),
            seconds: (facts.seconds * 1000.0).round() / 1000.0,
            by_kind: by_kind(jobs, stats),
            dead_jobs: dead
                .map(|job| DeadJob::new(job, planned(job), account::is_unreadable(job, facts.own_pictures)))
                .collect(),
            missing: facts.missing,
            dir: facts.dir,
            store: facts.store,
            files: facts.files,
        }
    }

    /// In words, for people.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut text = String::from("\n");
        self.write_table(&mut text, paint);
        self.write_dead(&mut text, paint);
        self.write_files(&mut text, paint);
        self.write_verdict(&mut text, paint);
        text
    }

    fn write_table(&self, text: &mut String, paint: Paint) {
        let head = format!("  {:<18}{:>6}{:>12}{:>7}{:>10}", "kind", "jobs", "completed", "dead", "retried");
        let _ = writeln!(text, "{}", paint.dim(&head));
        let mut sum = OfKind::default();
        for (kind, of) in &self.by_kind {
            let _ = writeln!(text, "{}", row(kind, of));
            sum.jobs += of.jobs;
            sum.completed += of.completed;
            sum.dead += of.dead;
            sum.retried += of.retried;
        }
        let _ = writeln!(text, "{}", paint.bold(&row("all", &sum)));
        if let Some(pid) = self.killed_pid {
            let after =
                self.rescued_after_ms.map_or_else(String::new, |ms| format!(" within {:.1} s", ms as f64 / 1000.0));
            let _ = writeln!(
                text,
                "\n  process {pid} was killed; {} jobs rescued{after}, {} lost",
                self.rescued, self.lost
            );
        }
    }

    fn write_dead(&self, text: &mut String, paint: Paint) {
        if self.dead_jobs.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{}", paint.bold("Dead letters"));
        for job in self.dead_jobs.iter().take(20) {
            let how = match (job.planned, job.unreadable) {
                (true, _) => "as expected",
                (_, true) => "unreadable",
                _ => "NOT PLANNED",
            };
            let _ = writeln!(text, "  {:<16}{}", job.kind, job.about);
            let attempts = if job.attempts == 1 { "1 attempt".into() } else { format!("{} attempts", job.attempts) };
            let more = format!("{} after {attempts}, {how}: {}", job.reason, first_line(&job.error));
            let _ = writeln!(text, "  {:<16}{}", "", paint.dim(&more));
        }
        if self.dead_jobs.len() > 20 {
            let _ = writeln!(text, "  and {} more", self.dead_jobs.len() - 20);
        }
    }

    fn write_files(&self, text: &mut String, paint: Paint) {
        let within =
            |folder: &str| self.files.iter().filter(|path| path.parent().is_some_and(|p| p.ends_with(folder))).count();
        let _ = writeln!(text, "\n{}", paint.bold(&format!("Results in {}", self.dir.display())));
        let lines = [
            (REPORT, "the report: open it in a browser".to_owned()),
            (CSV, "one line for each job".to_owned()),
            ("images/", format!("{} pictures", within("images"))),
            ("outbox/", format!("{} mails", within("outbox"))),
            ("logs/", "what the workers had to say".to_owned()),
        ];
        for (name, what) in lines {
            let _ = writeln!(text, "  {name:<16}{}", paint.dim(&what));
        }
        let store = shell_word(&self.store);
        let _ = writeln!(text, "\n{}", paint.bold("Check it"));
        let _ = writeln!(text, "  windlass --store {store} stats --json");
        let _ = writeln!(text, "  windlass --store {store} job list --state dead");
        if self.store.contains("***") {
            let _ = writeln!(text, "  {}", paint.dim("*** is the user and the password of the URL that you gave"));
        }
    }

    fn write_verdict(&self, text: &mut String, paint: Paint) {
        let (jobs, seconds) = (self.jobs, self.seconds);
        if self.ok {
            let unreadable = self.dead_jobs.iter().filter(|job| job.unreadable).count() as u64;
            let bad = if unreadable > 0 { format!("{unreadable} unreadable, ") } else { String::new() };
            let line = format!(
                "All {jobs} jobs are accounted for: {} completed, {} dead as expected, {bad}{} lost. {seconds:.1} s",
                self.completed,
                self.dead - unreadable,
                self.lost
            );
            let _ = writeln!(text, "\n{}", paint.good(&line));
            return;
        }
        let _ = writeln!(text, "\n{}", paint.bad(&format!("Not everything is accounted for ({seconds:.1} s):")));
        for line in self.missing.iter().take(50) {
            let _ = writeln!(text, "  - {line}");
        }
        if self.missing.len() > 50 {
            let _ = writeln!(text, "  and {} more; see --json", self.missing.len() - 50);
        }
    }
}

impl DeadJob {
    fn new(job: &JobRecord, planned: bool, unreadable: bool) -> Self {
        Self {
            id: job.id().to_string(),
            kind: job.spec.kind.to_string(),
            about: subject(job),
            reason: job.reason.as_deref().unwrap_or_default().to_owned(),
            attempts: job.attempt,
            error: job.errors.last().map(|error| error.message.clone()).unwrap_or_default(),
            planned,
            unreadable: unreadable && !planned,
        }
    }
}

fn by_kind(jobs: &[JobRecord], stats: &Stats) -> BTreeMap<String, OfKind> {
    let mut kinds: BTreeMap<String, OfKind> = BTreeMap::new();
    for job in jobs {
        let of = kinds.entry(job.spec.kind.to_string()).or_default();
        of.jobs += 1;
        of.completed += u64::from(job.state == JobState::Completed);
        of.dead += u64::from(job.state == JobState::Dead);
    }
    for item in &stats.items {
        kinds.entry(item.name.clone()).or_default().retried = item.retried;
    }
    kinds
}

fn row(name: &str, of: &OfKind) -> String {
    format!("  {name:<18}{:>6}{:>12}{:>7}{:>10}", of.jobs, of.completed, of.dead, of.retried)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The text as one word of a shell's command.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_shown_as_one_word_of_a_shell() {
        assert_eq!(shell_word("sqlite:out/jobs.db"), "sqlite:out/jobs.db");
        assert_eq!(shell_word("sqlite:my demo/it's.db"), r"'sqlite:my demo/it'\''s.db'");
    }
}
