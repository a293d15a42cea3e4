//! `windlass demo`: a small service on real input, run end to end in a few seconds. Pictures are processed, mails are
//! written, a report is made; some jobs fail and are retried, one worker process is killed, and nothing is lost.
//!
//! `parent` tells the story and `worker` does the work, each in a process of its own. The demo uses the library's
//! public API and nothing else.

mod account;
mod email;
mod events;
mod faults;
mod filters;
mod fleet;
mod image;
mod outdir;
mod parent;
mod photos;
mod plan;
mod report;
mod screen;
mod stage;
mod summary;
mod worker;

use std::{path::PathBuf, time::Duration};

use windlass::{Client, JobOptions};

use crate::{
    exit::{Exit, Failure},
    store::App,
};

/// The arguments of `windlass demo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Folder for the results; an earlier run in it is replaced, other files are never touched
    #[arg(long, value_name = "DIR", default_value = "windlass-demo")]
    pub(crate) dir: PathBuf,

    /// Use the JPEG and PNG pictures in this folder instead of the built-in photographs
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,

    /// How many jobs to run in all, the report included [default: 60, or more to use every picture of --images]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) jobs: Option<u32>,

    /// How many jobs each of the two worker processes runs at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) concurrency: u32,

    /// Keep the database of the run before (as jobs-1.db, jobs-2.db, ..) instead of replacing it
    #[arg(long)]
    pub(crate) keep: bool,

    /// What this process is: `worker` for the processes that the demo starts itself
    #[arg(long, hide = true)]
    pub(crate) role: Option<Role>,

    /// The store of a worker; by the environment, since its URL may hold a password and everybody sees arguments
    #[arg(long, hide = true, env = DATABASE_OF_WORKERS, hide_env_values = true)]
    pub(crate) database: Option<String>,

    /// How long a worker's jobs wait for the world outside
    #[arg(long, hide = true, default_value_t = 200)]
    pub(crate) pace_ms: u64,
}

/// Tells a worker its store.
const DATABASE_OF_WORKERS: &str = "WINDLASS_DEMO_DATABASE";

/// The part that a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    Worker,
}

/// Runs the demo, or a worker of one. Ends well if every job is accounted for.
///
/// # Errors
/// A [`Failure`], or a [`windlass::Error`] of the store.
pub(crate) async fn run(app: &App, args: DemoArgs) -> anyhow::Result<Exit> {
    match args.role {
        Some(Role::Worker) => worker::run(args).await.map(|()| Exit::Ok),
        None => parent::run(app, args).await,
    }
}

fn refused(message: impl Into<String>, help: impl Into<String>) -> Failure {
    Failure::usage(message).help(help)
}

fn conflict(message: impl Into<String>, help: impl Into<String>) -> Failure {
    Failure::new(Exit::Conflict, "conflict", message).help(help)
}

/// A lease short enough to see a rescue without waiting for it; the default is 10 s.
const LEASE: Duration = Duration::from_secs(2);

/// Opens the demo's store. Completed jobs stay for a week, so that report and summary can read them.
async fn open(url: &str) -> Result<Client, windlass::Error> {
    let defaults = JobOptions::new().retention(Duration::from_secs(7 * 24 * 3600)).timeout(Duration::from_secs(60));
    Client::builder().defaults(defaults.max_retry(5)).open(url).await
}
