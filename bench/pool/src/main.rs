//! `WorkerPool` beside `tokio::spawn` with empty jobs, A B A B in one process: the rate of each, and the ratio.
//! Every job marks a byte of its own; a job that did not run exactly once is an error and exit 1.
//!
//! `cargo run --release -p windlass-bench-pool -- [JOBS] [ROUNDS] [WORKERS] [CAPACITY]`

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Instant,
};

use anyhow::{Context, ensure};
use windlass::WorkerPool;

const THREADS: usize = 2;

#[derive(Clone, Copy)]
struct Plan {
    jobs: usize,
    rounds: usize,
    workers: usize,
    capacity: usize,
}

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1);
    let mut number = |default: usize| -> anyhow::Result<usize> {
        numbers.next().map_or(Ok(default), |text| text.parse().with_context(|| format!("`{text}` is no number")))
    };
    let plan = Plan { jobs: number(1_000_000)?, rounds: number(5)?, workers: number(4)?, capacity: number(1024)? };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).build()?;
    // On a thread of the runtime, where a spawn is cheapest.
    runtime.block_on(async move { tokio::spawn(compare(plan)).await })?
}

async fn compare(plan: Plan) -> anyhow::Result<()> {
    let Plan { jobs, rounds, workers, capacity } = plan;
    println!("{jobs} empty jobs, {THREADS} threads; pool of {workers} workers, capacity {capacity}");
    let marks: &'static [AtomicU8] = Vec::leak((0..jobs).map(|_| AtomicU8::new(0)).collect());
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let spawned = rate(marks, spawn_and_join(marks)).await?;
        let pooled = rate(marks, submit_and_join(marks, plan)).await?;
        ratios.push(pooled / spawned);
        println!("round {round}: tokio::spawn {spawned:.0}/s, WorkerPool {pooled:.0}/s, ratio {:.2}", pooled / spawned);
    }
    ratios.sort_by(f64::total_cmp);
    let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
    println!("ratio: median {:.2}, range {low:.2} to {high:.2}; every job ran exactly once", ratios[ratios.len() / 2]);
    Ok(())
}

/// The job.
async fn mark_once(mark: &AtomicU8) {
    mark.fetch_add(1, Ordering::Relaxed);
}

/// Jobs a second, from the first submission to the last result.
async fn rate(marks: &[AtomicU8], run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<f64> {
    marks.iter().for_each(|mark| mark.store(0, Ordering::Relaxed));
    let began = Instant::now();
    run.await?;
    let seconds = began.elapsed().as_secs_f64();
    let wrong = marks.iter().filter(|mark| mark.load(Ordering::Relaxed) != 1).count();
    ensure!(wrong == 0, "{wrong} jobs did not run exactly once");
    Ok(marks.len() as f64 / seconds)
}

async fn spawn_and_join(marks: &'static [AtomicU8]) -> anyhow::Result<()> {
    let mut handles = Vec::with_capacity(marks.len());
    for mark in marks {
        handles.push(tokio::spawn(mark_once(mark)));
    }
    for handle in handles {
        handle.await?;
    }
    Ok(())
}

async fn submit_and_join(marks: &'static [AtomicU8], plan: Plan) -> anyhow::Result<()> {
    let pool = WorkerPool::new(plan.workers).capacity(plan.capacity);
    let mut handles = Vec::with_capacity(marks.len());
    for mark in marks {
        handles.push(pool.submit(mark_once(mark)).await?);
    }
    for handle in handles {
        handle.await?;
    }
    pool.drain().await;
    Ok(())
}
