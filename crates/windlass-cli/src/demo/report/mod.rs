//! The kind `report:generate`: an HTML page with charts and a CSV file about the run, from the store's own numbers.
//! It runs when every other job has ended, so it counts itself as the one that still runs.

mod charts;
mod csv;
mod numbers;
mod page;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use windlass::{Job, JobContext, JobError, JobFilter, JobOptions, JobRecord, Json, State, store::Dimension};

use super::{
    email::SendEmail,
    fleet::Worker,
    image::ProcessImage,
    outdir::{CSV, REPORT},
    parent::all,
    stage::{Stage, blocking},
    summary::Killed,
};
use numbers::Numbers;

/// The payload of `report:generate`: what the store does not know about the worker processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GenerateReport {
    workers: Vec<WorkerProcess>,
    killed_at: Option<windlass::Timestamp>,
    jobs_held_at_kill: usize,
    rescued_after_ms: Option<u64>,
}

/// A worker process and the id of its server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WorkerProcess {
    number: usize,
    pid: u32,
    server: String,
    killed: bool,
}

impl Job for GenerateReport {
    const KIND: &'static str = "report:generate";

    fn options(&self) -> JobOptions {
        JobOptions::new().queue("reports")
    }
}

impl GenerateReport {
    pub(super) fn about(workers: &[Worker], killed: Option<&Killed>) -> Self {
        let process = |worker: &Worker| WorkerProcess {
            number: worker.number,
            pid: worker.pid,
            server: worker.server.clone().unwrap_or_default(),
            killed: worker.killed,
        };
        Self {
            workers: workers.iter().map(process).collect(),
            killed_at: killed.map(|killed| killed.wall),
            jobs_held_at_kill: killed.map_or(0, |killed| killed.held),
            rescued_after_ms: killed.and_then(|killed| killed.back_after_ms),
        }
    }
}

/// The result of `report:generate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Reported {
    files: Vec<String>,
    jobs: usize,
}

#[windlass::check_handler]
pub(super) async fn generate(
    job: GenerateReport,
    State(stage): State<Stage>,
    ctx: JobContext,
) -> windlass::Result<Json<Reported>> {
    let client = ctx.client();
    let jobs = all(client, &JobFilter::default()).await?;
    let stats = client.stats(None, Some(Dimension::Kind)).await?;
    let reported = blocking(move || {
        let numbers = Numbers::new(&job, jobs, stats);
        let page = page::render(&numbers, &stage).context("the HTML page")?;
        stage.write(&ctx, REPORT, page.as_bytes()).context(REPORT)?;
        stage.write(&ctx, CSV, csv::render(&numbers.jobs).as_bytes()).context(CSV)?;
        Ok(Reported { files: vec![REPORT.into(), CSV.into()], jobs: numbers.jobs.len() })
    });
    reported.await.map(Json).map_err(JobError::from)
}

/// What a job is about, in a few words.
pub(super) fn subject(job: &JobRecord) -> String {
    let payload = &job.spec.payload;
    match job.spec.kind.as_str() {
        ProcessImage::KIND => serde_json::from_slice::<ProcessImage>(payload)
            .map(|image| format!("{} ({})", image.image_url, image.filters.join(", "))),
        SendEmail::KIND => {
            serde_json::from_slice::<SendEmail>(payload).map(|mail| format!("{}: {}", mail.to, mail.subject))
        }
        _ => Ok("this run".to_owned()),
    }
    .unwrap_or_else(|_| "a payload of another program".to_owned())
}
