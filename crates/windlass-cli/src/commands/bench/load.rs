//! The phases `enqueue` (each call awaited) and `bulk` (a thousand jobs a call): how fast jobs come in. Lost is what
//! was acknowledged and is not there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use windlass::{Client, Error};

use super::{
    Delivery, Figures,
    measure::{Meter, quantile_ms},
    place::Site,
    tally::plain_job,
};

const BULK: u64 = 1000;

pub(crate) async fn enqueue(site: &Site, jobs: u64, callers: usize, retention: Duration) -> anyhow::Result<Figures> {
    load(site, jobs, callers, 1, retention).await
}

pub(crate) async fn bulk(site: &Site, jobs: u64, callers: usize, retention: Duration) -> anyhow::Result<Figures> {
    load(site, jobs, callers, BULK, retention).await
}

/// What a caller has seen.
struct Seen {
    acknowledged: u64,
    calls: Vec<Duration>,
}

async fn load(site: &Site, jobs: u64, callers: usize, step: u64, retention: Duration) -> anyhow::Result<Figures> {
    let before = site.present().await?;
    let next = Arc::new(AtomicU64::new(0));
    let meter = Meter::start(site.client()).await?;
    let mut running = JoinSet::new();
    for _ in 0..callers {
        running.spawn(call(site.client().clone(), next.clone(), jobs, step, retention));
    }
    let (mut acknowledged, mut calls) = (0, Vec::new());
    while let Some(seen) = running.join_next().await {
        let seen = seen??;
        acknowledged += seen.acknowledged;
        calls.extend(seen.calls);
    }
    let cost = meter.stop().await?;
    calls.sort_unstable();
    let present = site.present().await? - before;
    let (lost, twice) = (acknowledged.saturating_sub(present), present.saturating_sub(acknowledged));
    Ok(Figures {
        cost,
        p50_ms: quantile_ms(&calls, 0.5),
        p99_ms: quantile_ms(&calls, 0.99),
        delivery: Delivery { enqueued: acknowledged, finished: 0, lost, twice },
    })
}

/// One caller: enqueues the next jobs and waits for the answer, until there are none.
async fn call(client: Client, next: Arc<AtomicU64>, jobs: u64, step: u64, keep: Duration) -> Result<Seen, Error> {
    let mut seen = Seen { acknowledged: 0, calls: Vec::new() };
    loop {
        let first = next.fetch_add(step, Relaxed);
        let last = (first + step).min(jobs);
        if first >= last {
            return Ok(seen);
        }
        let began = client.env().monotonic();
        seen.acknowledged += if step == 1 {
            u64::from(client.enqueue(plain_job(first, keep)).await?.is_new())
        } else {
            let answers = client.enqueue_all((first..last).map(|number| plain_job(number, keep))).await?;
            answers.iter().filter(|answer| answer.is_new()).count() as u64
        };
        seen.calls.push(client.env().monotonic().since(began));
    }
}
