//! The phase `latency`: 100 jobs a second on an idle server, from the enqueue call to the handler's first line. An
//! open loop: a slow job does not hold the next one back.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use windlass::{Client, Error, Monotonic};

use super::{
    Figures,
    measure::{Meter, quantile_ms},
    place::Site,
    tally::Tally,
};

const EVERY: Duration = Duration::from_millis(10);
/// Jobs that warm everything up and are not counted.
const WARM_UP: u64 = 20;

pub(crate) async fn run(site: &Site, jobs: u64, slots: usize, retention: Duration) -> anyhow::Result<Figures> {
    let client = site.client();
    let tally = Tally::new(client, jobs, retention, true);
    let server = tally.serve(client, slots).await?;
    send(client, &tally, jobs, jobs + WARM_UP).await?;
    let meter = Meter::start(client.env());
    let mut sent = send(client, &tally, 0, jobs).await?;
    let end = tally.ended().await;
    let cost = meter.stop_at(end);
    server.shutdown().await;
    sent.sort_unstable();
    let latency = |(number, called): (u64, Monotonic)| tally.began(number as usize).since(called);
    let mut latencies: Vec<Duration> = sent.into_iter().map(latency).collect();
    latencies.sort_unstable();
    let (p50_ms, p99_ms) = (quantile_ms(&latencies, 0.5), quantile_ms(&latencies, 0.99));
    Ok(Figures { cost, p50_ms, p99_ms, delivery: tally.delivery() })
}

/// Enqueues the jobs with these numbers on time, and answers when each call was made.
async fn send(client: &Client, tally: &Arc<Tally>, from: u64, to: u64) -> anyhow::Result<Vec<(u64, Monotonic)>> {
    let env = client.env();
    let began = env.monotonic();
    let mut calls: JoinSet<Result<(u64, Monotonic), Error>> = JoinSet::new();
    for number in from..to {
        let due = EVERY * u32::try_from(number - from).unwrap_or(u32::MAX);
        env.sleep(due.saturating_sub(env.monotonic().since(began))).await;
        let (client, job) = (client.clone(), tally.job(number));
        calls.spawn(async move {
            let called = client.env().monotonic();
            client.enqueue(job).await.map(|_| (number, called))
        });
    }
    let mut sent = Vec::new();
    while let Some(call) = calls.join_next().await {
        sent.push(call??);
    }
    Ok(sent)
}
