//! `windlass queue`: looks at queues, pauses and resumes them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::{Serialize, Serializer};
use windlass::{Client, JobState, QueueName, store::QueueCensus};

use crate::{
    exit::{Exit, Failure},
    output::{List, or_dash, table},
    store::App,
    units,
};

#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All queues, their counts, and how long their oldest job has been waiting
    List,
    /// Stop a queue from giving jobs; what runs goes on
    Pause { name: String },
    /// Let a paused queue give jobs again
    Resume { name: String },
}

#[derive(Serialize)]
struct Queue {
    name: String,
    paused: bool,
    /// The highest among the live servers; none: no server takes from it.
    weight: Option<u32>,
    oldest_wait_ms: Option<u64>,
    #[serde(serialize_with = "states")]
    by_state: [u64; 9],
}

fn states<S: Serializer>(counts: &[u64; 9], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(JobState::ALL.iter().map(|state| (state.as_str(), counts[state.code() as usize])))
}

#[derive(Serialize)]
struct Switched<'a> {
    name: &'a str,
    paused: bool,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    let client = app.existing().await?;
    match flags.action {
        Action::List => list(app, &client).await,
        Action::Pause { name } => switch(app, &client, &name, true).await,
        Action::Resume { name } => switch(app, &client, &name, false).await,
    }
}

async fn switch(app: &App, client: &Client, name: &str, paused: bool) -> anyhow::Result<Exit> {
    let queue = QueueName::new(name)?;
    let found = if paused { client.pause(&queue).await? } else { client.resume(&queue).await? };
    if !found {
        let failure = Failure::not_found(format!("there is no queue `{name}`"));
        return Err(failure
            .help("a queue is there once a job has been in it; `windlass queue list` shows them")
            .into());
    }
    app.out.document(&Switched { name, paused }, || {
        format!("queue {name} {}", if paused { "is paused" } else { "gives jobs" })
    })?;
    Ok(Exit::Ok)
}

async fn list(app: &App, client: &Client) -> anyhow::Result<Exit> {
    let census = client.census().await?;
    let mut weights: BTreeMap<String, u32> = BTreeMap::new();
    for (queue, weight) in client.servers().await?.into_iter().flat_map(|server| server.queues) {
        let highest = weights.entry(queue.to_string()).or_default();
        *highest = weight.max(*highest);
    }
    let queue = |queue: &QueueCensus| Queue {
        name: queue.name.to_string(),
        paused: queue.paused,
        weight: weights.get(queue.name.as_str()).copied(),
        oldest_wait_ms: queue.oldest_pending.map(|at| census.now.since(at).as_millis() as u64),
        by_state: queue.by_state,
    };
    let queues: Vec<Queue> = census.queues.iter().map(queue).collect();
    app.out.document(&List::whole(&queues), || table(&HEADINGS, &queues.iter().map(row).collect::<Vec<_>>()))?;
    Ok(Exit::Ok)
}

const HEADINGS: [&str; 11] = [
    "QUEUE",
    "PAUSED",
    "WEIGHT",
    "OLDEST WAIT",
    "PENDING",
    "RUNNING",
    "SCHEDULED",
    "BLOCKED",
    "AGGREGATING",
    "RETRYING",
    "DEAD",
];

fn row(queue: &Queue) -> Vec<String> {
    let wait = queue.oldest_wait_ms.map(|ms| units::show(std::time::Duration::from_millis(ms)));
    let paused = if queue.paused { "yes" } else { "no" };
    let facts = [queue.name.clone(), paused.into(), or_dash(queue.weight), or_dash(wait)];
    let shown = [
        JobState::Pending,
        JobState::Running,
        JobState::Scheduled,
        JobState::Blocked,
        JobState::Aggregating,
        JobState::Retrying,
        JobState::Dead,
    ];
    let counts = shown.map(|state| queue.by_state[state.code() as usize].to_string());
    facts.into_iter().chain(counts).collect()
}
