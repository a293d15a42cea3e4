//! `windlass bench`: measures the store and the server that `work` runs, by the public API alone. Every figure comes
//! with exact delivery: what was enqueued, what was finished, what was lost, what ran twice.

mod drain;
mod flood;
mod latency;
mod load;
mod measure;
mod place;
mod tally;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tracing::info;

use crate::{
    exit::{Exit, Failure},
    output::{List, or_dash, table},
    signals::Signals,
    store::App,
    units,
};
use place::{Place, Site};

const EXAMPLES: &str = "\
Examples:
  windlass bench
  windlass bench --phase drain --jobs 1000000 --concurrency 10,50 --store memory:
  windlass bench --phase enqueue --callers 1,50 --json
  windlass bench --phase latency --from-process

Phases: enqueue (each call awaited), bulk (1,000 jobs a call), drain (preloaded; from the server's start to the last
accepted finish), latency (100 jobs a second on an idle server, from the enqueue call to the handler's first line; with
--from-process another process enqueues, and the time begins with the line that `enqueue --batch` is given), flood (not
among all: jobs that are due in the same moment, and from then on 100 fresh ones a second into the same queue; the rate is
that of the due ones, the times are those of the fresh ones).
Without a store it measures SQLite in a temporary folder.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// How many jobs [default: 100000; enqueue 10000, latency 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    jobs: Option<u64>,
    /// How many run at once (drain, latency, flood); separate with commas
    #[arg(long, value_name = "C", value_delimiter = ',', default_value = "50", value_parser = count)]
    concurrency: Vec<usize>,
    /// How many enqueue at once (enqueue, bulk); separate with commas [default: 1 and 50; bulk 1]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = count)]
    callers: Vec<usize>,
    #[arg(long, value_enum, default_value = "all")]
    phase: Phase,
    /// How many more jobs stand behind those that are drained
    #[arg(long, value_name = "N", default_value_t = 0)]
    backlog: u64,
    /// How long completed jobs are kept
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "0s")]
    retention: Duration,
    /// Let another process enqueue (latency)
    #[arg(long)]
    from_process: bool,
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=100_000).contains(number));
    number.ok_or_else(|| format!("`{text}` is no number from 1 to 100000"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Enqueue,
    Bulk,
    Drain,
    Latency,
    Flood,
    All,
}

/// One figure.
#[derive(Debug, Serialize)]
struct Item {
    store: String,
    phase: Phase,
    jobs: u64,
    /// Slots of the server; callers, where no server runs.
    concurrency: usize,
    seconds: f64,
    rate: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    cpu_us_per_job: f64,
    /// Of the store's own process; none, where it has none.
    store_cpu_us_per_job: Option<f64>,
    /// None: this system does not say.
    peak_rss_bytes: Option<u64>,
    durability: String,
    delivery: Delivery,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Delivery {
    enqueued: u64,
    finished: u64,
    lost: u64,
    twice: u64,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let place = Place::new(app.url());
    if flags.from_process {
        place.refuse_in_process()?;
    }
    // Dropped at a signal, so that the temporary folder goes, too.
    let items = tokio::select! {
        biased;
        () = signals.stop() => return Err(Failure::new(Exit::Failed, "interrupted", "the measurement was interrupted").into()),
        items = measure(&place, &flags) => items?,
    };
    app.out.document(&List::whole(&items), || table(&HEADINGS, &items.iter().map(row).collect::<Vec<_>>()))?;
    let exact = items.iter().all(|item| item.delivery.lost == 0 && item.delivery.twice == 0);
    Ok(if exact { Exit::Ok } else { Exit::Failed })
}

async fn measure(place: &Place, flags: &Flags) -> anyhow::Result<Vec<Item>> {
    let all = flags.phase == Phase::All;
    let wanted = |phase| all || flags.phase == phase;
    let callers = |default: &[usize]| if flags.callers.is_empty() { default.to_vec() } else { flags.callers.clone() };
    let mut plan = Vec::new();
    if wanted(Phase::Enqueue) {
        plan.extend(
            callers(&[1, 50]).into_iter().map(|callers| (Phase::Enqueue, flags.jobs.unwrap_or(10_000), callers)),
        );
    }
    if wanted(Phase::Bulk) {
        plan.extend(callers(&[1]).into_iter().map(|callers| (Phase::Bulk, flags.jobs.unwrap_or(100_000), callers)));
    }
    if wanted(Phase::Drain) {
        plan.extend(flags.concurrency.iter().map(|slots| (Phase::Drain, flags.jobs.unwrap_or(100_000), *slots)));
    }
    if wanted(Phase::Latency) {
        // At 100 a second, a number that is meant for the other phases would take hours.
        let jobs = flags.jobs.map_or(500, |jobs| if all { jobs.min(500) } else { jobs });
        plan.extend(flags.concurrency.iter().map(|slots| (Phase::Latency, jobs, *slots)));
    }
    if flags.phase == Phase::Flood {
        plan.extend(flags.concurrency.iter().map(|slots| (Phase::Flood, flags.jobs.unwrap_or(100_000), *slots)));
    }
    let mut items = Vec::new();
    for (phase, jobs, concurrency) in plan {
        info!(?phase, jobs, concurrency, "measuring");
        let mut site = place.open().await?;
        let item = one(&mut site, flags, phase, jobs, concurrency).await?;
        site.close().await?;
        items.push(item);
    }
    Ok(items)
}

async fn one(site: &mut Site, flags: &Flags, phase: Phase, jobs: u64, concurrency: usize) -> anyhow::Result<Item> {
    let figures = match phase {
        Phase::Enqueue => load::enqueue(site, jobs, concurrency, flags.retention).await?,
        Phase::Bulk => load::bulk(site, jobs, concurrency, flags.retention).await?,
        Phase::Latency => latency::run(site, jobs, concurrency, flags.retention, flags.from_process).await?,
        Phase::Flood => flood::run(site, jobs, concurrency, flags.retention).await?,
        _ => drain::run(site, jobs, concurrency, flags.backlog, flags.retention).await?,
    };
    let (seconds, jobs_f) = (figures.cost.took.as_secs_f64(), jobs as f64);
    let store = site.client().store();
    let us_per_job = |cpu: Duration| cpu.as_secs_f64() * 1e6 / jobs_f;
    Ok(Item {
        store: store.name().to_owned(),
        phase,
        jobs,
        concurrency,
        seconds,
        rate: jobs_f / seconds.max(1e-6),
        p50_ms: figures.p50_ms,
        p99_ms: figures.p99_ms,
        cpu_us_per_job: us_per_job(figures.cost.cpu),
        store_cpu_us_per_job: figures.cost.store_cpu.map(us_per_job),
        peak_rss_bytes: figures.cost.peak_rss_bytes,
        durability: store.durability(),
        delivery: figures.delivery,
    })
}

/// What a phase found.
struct Figures {
    cost: measure::Cost,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    delivery: Delivery,
}

const HEADINGS: [&str; 12] = [
    "STORE",
    "PHASE",
    "JOBS",
    "CONCURRENCY",
    "SECONDS",
    "JOBS/S",
    "P50 MS",
    "P99 MS",
    "CPU US/JOB",
    "STORE CPU US/JOB",
    "PEAK RSS",
    "DELIVERY",
];

fn row(item: &Item) -> Vec<String> {
    let millis = |millis: Option<f64>| or_dash(millis.map(|millis| format!("{millis:.2}")));
    let Delivery { lost, twice, .. } = item.delivery;
    let delivery = if lost == 0 && twice == 0 { "exact".into() } else { format!("{lost} lost, {twice} twice") };
    let rss = item.peak_rss_bytes.map(|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    vec![
        item.store.clone(),
        format!("{:?}", item.phase).to_lowercase(),
        item.jobs.to_string(),
        item.concurrency.to_string(),
        format!("{:.3}", item.seconds),
        format!("{:.0}", item.rate),
        millis(item.p50_ms),
        millis(item.p99_ms),
        format!("{:.2}", item.cpu_us_per_job),
        or_dash(item.store_cpu_us_per_job.map(|us| format!("{us:.2}"))),
        or_dash(rss),
        delivery,
    ]
}
