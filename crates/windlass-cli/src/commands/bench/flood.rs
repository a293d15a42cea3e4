//! The phase `flood`: jobs that are all due in the same moment, and from then on 100 fresh ones a second into the same
//! queue, as long as the flood lasts. The rate is that of the due ones, from the moment on; the times are those of the
//! fresh ones, from the enqueue call to the handler's first line.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use windlass::{Client, Error, Timestamp};

use super::{
    Figures,
    latency::Source,
    measure::{Meter, quantile_ms},
    place::Site,
    tally::Tally,
};

const STEP: u64 = 2000;
/// How many fresh jobs are made before it is looked whether the flood goes on.
const ROUND: u64 = 50;
/// How many there may be at all: an hour of them.
const MOST: u64 = 360_000;

pub(crate) async fn run(site: &mut Site, jobs: u64, slots: usize, retention: Duration) -> anyhow::Result<Figures> {
    let client = site.client().clone();
    let tally = Tally::with_fresh(&client, jobs, MOST, retention);
    // Long enough for the slowest store to take them all in before.
    let at = client.env().wall().after(Duration::from_secs(3 + jobs / 7_000));
    preload(&client, &tally, jobs, at).await?;
    let left = at.since(client.env().wall());
    ensure!(!left.is_zero(), "the store took longer to take the jobs in than the flood waits; use fewer --jobs");
    drop(client);
    site.reopen().await?;
    let client = site.client();
    let server = tally.serve(client, slots).await?;
    client.env().sleep(at.since(client.env().wall())).await;
    let meter = Meter::start(client).await?;
    let mut source = Source::Here(client.clone());
    let watched = tally.clone();
    let ended = tokio::spawn(async move { watched.ended().await });
    let mut sent = Vec::new();
    while !ended.is_finished() {
        let from = jobs + sent.len() as u64;
        ensure!(from + ROUND <= jobs + MOST, "the flood has lasted for an hour");
        sent.extend(source.send(client.env(), &tally, from, from + ROUND).await?);
    }
    let cost = meter.stop_at(ended.await?).await?;
    let lost = tally.await_fresh(sent.len() as u64).await;
    server.shutdown().await;
    let mut latencies: Vec<Duration> =
        sent.into_iter().map(|(number, called)| tally.began(number as usize).since(called)).collect();
    latencies.sort_unstable();
    let (p50_ms, p99_ms) = (quantile_ms(&latencies, 0.5), quantile_ms(&latencies, 0.99));
    let mut delivery = tally.delivery();
    delivery.lost += lost;
    Ok(Figures { cost, p50_ms, p99_ms, delivery })
}

async fn preload(client: &Client, tally: &Arc<Tally>, jobs: u64, at: Timestamp) -> Result<(), Error> {
    let mut from = 0;
    while from < jobs {
        let until = jobs.min(from + STEP);
        let job = |number| tally.job(number).with(|options| options.process_at(at.into()));
        client.enqueue_all((from..until).map(job)).await?;
        from = until;
    }
    Ok(())
}
