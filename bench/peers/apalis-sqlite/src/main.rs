//! Measures apalis on SQLite: bulk pushes, and the drain of no-op jobs by one worker. Prints a JSON document a figure.
//! As shipped (`setup` turns syncing off, batches of 10), and at the durability and batch size that windlass is measured
//! at. Every job is counted: a run that lost one never ends, one that ran one twice says so.
//!
//! Usage: apalis-sqlite [JOBS [SLOTS]]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use serde::{Deserialize, Serialize};
use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};

/// About 100 bytes as JSON, as in our own benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noop {
    number: u64,
    text: String,
}

#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    batch: usize,
    /// None: as `setup` leaves it.
    synchronous: Option<&'static str>,
}

const MODES: [Mode; 2] = [
    Mode { name: "as shipped (synchronous=OFF, batches of 10)", batch: 10, synchronous: None },
    Mode { name: "synchronous=FULL, batches of 500", batch: 500, synchronous: Some("FULL") },
];

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut arguments = std::env::args().skip(1);
    let jobs = arguments.next().map_or(Ok(50_000), |text| text.parse())?;
    let slots = arguments.next().map_or(Ok(50), |text| text.parse())?;
    for mode in MODES {
        let place = tempfile::tempdir()?;
        let pool = open(&place.path().join("jobs.db"), mode).await?;
        let took = push(&pool, mode, jobs).await?;
        print("bulk", mode, jobs, 1, took, 0);
        let (took, ran) = drain(&pool, mode, jobs, slots).await?;
        print("drain", mode, jobs, slots, took, ran - jobs);
    }
    Ok(())
}

fn print(phase: &str, mode: Mode, jobs: u64, concurrency: usize, took: Duration, twice: u64) {
    let seconds = took.as_secs_f64();
    let figure = serde_json::json!({
        "peer": "apalis-sqlite", "mode": mode.name, "phase": phase, "jobs": jobs, "concurrency": concurrency,
        "seconds": seconds, "rate": jobs as f64 / seconds, "twice": twice,
    });
    println!("{figure}");
}

/// One connection, since one at a time writes anyway and a setting of a connection then holds for all.
async fn open(path: &Path, mode: Mode) -> Result<SqlitePool, BoxDynError> {
    let url = format!("sqlite:{}?mode=rwc", path.display());
    let pool = SqlitePoolOptions::new().max_connections(1).connect(&url).await?;
    SqliteStorage::setup(&pool).await?;
    if mode.synchronous == Some("FULL") {
        sqlx::query("PRAGMA synchronous = FULL").execute(&pool).await?;
    }
    Ok(pool)
}

fn storage(pool: &SqlitePool, mode: Mode) -> SqliteStorage<Noop> {
    SqliteStorage::new(pool).with_config(Config::default().queue("noop").batch_size(mode.batch))
}

async fn push(pool: &SqlitePool, mode: Mode, jobs: u64) -> Result<Duration, BoxDynError> {
    let mut storage = storage(pool, mode);
    let began = Instant::now();
    for from in (0..jobs).step_by(1000) {
        let batch: Vec<Noop> =
            (from..jobs.min(from + 1000)).map(|number| Noop { number, text: "x".repeat(70) }).collect();
        storage.push_bulk(batch).await?;
    }
    Ok(began.elapsed())
}

async fn drain(pool: &SqlitePool, mode: Mode, jobs: u64, slots: usize) -> Result<(Duration, u64), BoxDynError> {
    let ran = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let counter = ran.clone();
    let noop = move |_: Noop| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok::<(), BoxDynError>(()) }
    };
    let worker = WorkerBuilder::new("drain").backend(storage(pool, mode)).concurrency(slots).build(noop);
    // Until the last outcome is in the store, as for ours.
    let all_done = async {
        let undone = "SELECT count(*) FROM Jobs WHERE status <> 'Done'";
        loop {
            if ran.load(Ordering::Relaxed) >= jobs && sqlx::query_scalar::<_, i64>(undone).fetch_one(pool).await? == 0 {
                return Ok::<(), sqlx::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        ended = worker.run() => return Err(format!("the worker ended early: {ended:?}").into()),
        done = all_done => done?,
    }
    let took = began.elapsed();
    Ok((took, ran.load(Ordering::Relaxed)))
}
