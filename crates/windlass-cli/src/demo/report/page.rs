//! The HTML page: one file with its style, charts and a few of the pictures inside, so that it can be sent around.

use std::{collections::BTreeMap, fs};

use data_encoding::BASE64;
use minijinja::{Value, context, value::Serde};
use windlass::{JobRecord, JobState};

use super::{
    charts::{self, Bar, Lane, Mark, Pair, Span},
    numbers::{Numbers, shown},
    subject,
};
use crate::demo::stage::Stage;

/// The most runs on the timeline; more would be a grey block.
const MAX_SPANS: usize = 600;
/// The most pictures on the page.
const MAX_PICTURES: usize = 15;

pub(super) fn render(numbers: &Numbers, stage: &Stage) -> Result<String, minijinja::Error> {
    let kinds = numbers.kinds();
    let (waits, runs) = ((numbers.stats.p50_wait_ms, numbers.stats.p99_wait_ms), &numbers.stats);
    let data = context! {
        jobs => numbers.stats.enqueued,
        completed => numbers.count(JobState::Completed),
        running => numbers.count(JobState::Running),
        dead => numbers.count(JobState::Dead),
        retried => numbers.stats.retried,
        rescued => numbers.rescued(),
        held => numbers.held,
        rescued_after => numbers.rescued_after_ms.map(|ms| format!("{:.1} s", ms as f64 / 1000.0)),
        seconds => format!("{:.1}", numbers.second(numbers.ended)),
        began => numbers.began.to_string().get(..19).unwrap_or_default().replace('T', " "),
        waits => context! { p50 => shown(waits.0), p99 => shown(waits.1) },
        runs => context! { p50 => shown(runs.p50_run_ms), p99 => shown(runs.p99_run_ms) },
        kinds => Value::from(Serde(&kinds)),
        workers => Value::from(Serde(&numbers.workers)),
        deads => Value::from(Serde(numbers.troubles(true))),
        mended => Value::from(Serde(numbers.troubles(false))),
        charts => context! {
            timeline => safe(timeline(numbers)),
            ended => safe(ended(numbers)),
            outcomes => safe(outcomes(numbers)),
            run_times => safe(run_times(numbers)),
        },
        pictures => pictures(numbers, stage),
        bytes => bytes(numbers),
    };
    stage.render("report.html", data)
}

fn safe(markup: String) -> Value {
    Value::from_safe_string(markup)
}

fn marks(numbers: &Numbers) -> Vec<Mark> {
    let killed = numbers.workers.iter().rfind(|worker| worker.killed);
    let Some((worker, at)) = killed.zip(numbers.killed_at) else { return Vec::new() };
    let at = numbers.second(at);
    let mut marks = vec![Mark { at, label: format!("{} killed", worker.name) }];
    if let Some(after) = numbers.rescued_after_ms {
        marks.push(Mark { at: at + after as f64 / 1000.0, label: "its jobs run again".to_owned() });
    }
    marks
}

fn timeline(numbers: &Numbers) -> String {
    let killed_at = numbers.killed_at.map(|at| numbers.second(at));
    let lanes = numbers.workers.iter().map(|worker| {
        let own = |job: &&JobRecord| job.server.is_some_and(|id| id.to_string() == worker.server);
        let spans = numbers.jobs.iter().take(MAX_SPANS).filter(own).filter_map(|job| span(numbers, job)).collect();
        Lane {
            label: worker.name.clone(),
            note: format!("process {}", worker.pid),
            spans,
            cut: killed_at.filter(|_| worker.killed),
        }
    });
    charts::timeline("The last run of each job, by worker", &lanes.collect::<Vec<_>>(), &marks(numbers))
}

fn span(numbers: &Numbers, job: &JobRecord) -> Option<Span> {
    let (from, to) = (numbers.second(job.started_at?), numbers.second(job.completed_at?));
    let class = match job.spec.kind.as_str() {
        _ if job.state == JobState::Dead => "dead",
        _ if job.crashes > 0 => "rescued",
        _ if job.failures > 0 => "retried",
        "image:process" => "image",
        _ => "mail",
    };
    let title = format!("{} {}, {} in {}", job.spec.kind, subject(job), job.state, shown((to - from) * 1000.0));
    Some(Span { from, to, class, title })
}

fn ended(numbers: &Numbers) -> String {
    charts::rising("Jobs that had ended, over time", &numbers.ended_over_time(), &marks(numbers))
}

fn outcomes(numbers: &Numbers) -> String {
    let bar = |of: super::numbers::KindLine| {
        let again = numbers.jobs.iter().filter(|job| job.spec.kind.as_str() == of.kind);
        let again =
            again.filter(|job| job.state == JobState::Completed && (job.failures > 0 || job.crashes > 0)).count();
        let part = |class, count: usize, name: &str| (class, count as f64, format!("{count} {name}"));
        Bar {
            parts: vec![
                part("done", of.completed - again, "completed at the first attempt"),
                part("retried", again, "completed after a failure or a crash"),
                part("dead", of.dead, "dead"),
                part("running", of.running, "running"),
            ],
            end: of.jobs.to_string(),
            label: of.kind,
        }
    };
    charts::bars("Jobs by kind and outcome", &numbers.kinds().into_iter().map(bar).collect::<Vec<_>>())
}

fn run_times(numbers: &Numbers) -> String {
    let kinds = numbers.kinds().into_iter().filter(|of| of.run_ms.1 > 0.0);
    let row = |of: super::numbers::KindLine| {
        let (p50, p99) = of.run_ms;
        let bar = |class, value, name: &str| Pair { class, value, shown: format!("{name} {}", shown(value)) };
        (of.kind, [bar("done", p50, "p50"), bar("soft", p99, "p99")])
    };
    charts::pairs("Run times by kind", &kinds.map(row).collect::<Vec<_>>())
}

/// One picture of each source, and further filters while there is room, inside the page.
fn pictures(numbers: &Numbers, stage: &Stage) -> Vec<Value> {
    let mut by_label: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
    for done in numbers.pictures() {
        let Some(file) = done.files.last() else { continue };
        let stem = file.name.trim_start_matches("images/").rsplit_once('-').map_or("", |(start, _)| start);
        let seen =
            by_label.values().flatten().filter(|(label, _)| label.split('-').next() == stem.split('-').next()).count();
        by_label.entry(seen).or_default().push((stem.to_owned(), file.name.clone()));
    }
    let chosen = by_label.into_values().flatten().take(MAX_PICTURES);
    let inline = |(label, name): (String, String)| {
        let bytes = fs::read(stage.out().join(&name)).ok()?;
        let (title, filter) = label.rsplit_once('-').unwrap_or((&label, ""));
        let source = format!("data:image/jpeg;base64,{}", BASE64.encode(&bytes));
        Some(context! { title => title, filter => filter, name => name, source => safe(source) })
    };
    chosen.filter_map(inline).collect()
}

/// How much the pictures and the files made of them weigh.
fn bytes(numbers: &Numbers) -> Value {
    let done = numbers.pictures();
    let before: u64 = done.iter().map(|picture| picture.source_bytes).sum();
    let files = || done.iter().flat_map(|picture| &picture.files);
    let after: u64 = files().map(|file| file.bytes).sum();
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    context! { before => megabytes(before), after => megabytes(after), files => files().count() }
}
