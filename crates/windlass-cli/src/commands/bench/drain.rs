//! The phase `drain`: jobs that are there already, from the server's start to the last accepted finish.

use std::{sync::Arc, time::Duration};

use windlass::{Client, Error, PRIORITIES};

use super::{Figures, measure::Meter, place::Site, tally::Tally};

/// How many jobs are made at once, so that a preload of millions takes little memory.
const STEP: u64 = 2000;

pub(crate) async fn run(
    site: &mut Site,
    jobs: u64,
    slots: usize,
    backlog: u64,
    retention: Duration,
) -> anyhow::Result<Figures> {
    let client = site.client().clone();
    let tally = Tally::new(&client, jobs, retention, false);
    // Half of the backlog comes first and stands behind by its priority, so that the measured jobs are claimed past it;
    // the other half comes after them.
    let half = jobs + backlog / 2;
    preload(&client, &tally, jobs, half, i32::from(*PRIORITIES.start())).await?;
    preload(&client, &tally, 0, jobs, 0).await?;
    preload(&client, &tally, half, jobs + backlog, 0).await?;
    drop(client);
    site.reopen().await?;
    let client = site.client();
    let meter = Meter::start(client).await?;
    let server = tally.serve(client, slots).await?;
    let end = tally.ended().await;
    let cost = meter.stop_at(end).await?;
    server.shutdown().await;
    Ok(Figures { cost, p50_ms: None, p99_ms: None, delivery: tally.delivery() })
}

async fn preload(client: &Client, tally: &Arc<Tally>, from: u64, to: u64, priority: i32) -> Result<(), Error> {
    let mut from = from;
    while from < to {
        let until = to.min(from + STEP);
        let job = |number| {
            let mut job = tally.job(number);
            job.options = job.options.priority(priority);
            job
        };
        client.enqueue_all((from..until).map(job)).await?;
        from = until;
    }
    Ok(())
}
