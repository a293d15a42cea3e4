//! The phase `latency`: 100 jobs a second on an idle server, from the enqueue call to the handler's first line. An
//! open loop: a slow job does not hold the next one back. The jobs come from this process, or from another one.

use std::{process::Stdio, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    task::JoinSet,
};
use windlass::{Client, Env, Error, Monotonic};

use super::{
    Figures,
    measure::{Meter, quantile_ms},
    place::Site,
    tally::Tally,
};

const EVERY: Duration = Duration::from_millis(10);
/// Jobs that warm everything up and are not counted.
const WARM_UP: u64 = 20;

/// The number of a job, and when its enqueueing began.
pub(crate) type Sent = (u64, Monotonic);

pub(crate) async fn run(
    site: &Site,
    jobs: u64,
    slots: usize,
    retention: Duration,
    from_process: bool,
) -> anyhow::Result<Figures> {
    let client = site.client();
    let tally = Tally::new(client, jobs, retention, true);
    let server = tally.serve(client, slots).await?;
    let mut source = if from_process { Source::other(site.url())? } else { Source::Here(client.clone()) };
    source.send(client.env(), &tally, jobs, jobs + WARM_UP).await?;
    let meter = Meter::start(client).await?;
    let mut sent = source.send(client.env(), &tally, 0, jobs).await?;
    let end = tally.ended().await;
    let cost = meter.stop_at(end).await?;
    source.end().await?;
    server.shutdown().await;
    sent.sort_unstable();
    let latency = |(number, called): Sent| tally.began(number as usize).since(called);
    let mut latencies: Vec<Duration> = sent.into_iter().map(latency).collect();
    latencies.sort_unstable();
    let (p50_ms, p99_ms) = (quantile_ms(&latencies, 0.5), quantile_ms(&latencies, 0.99));
    Ok(Figures { cost, p50_ms, p99_ms, delivery: tally.delivery() })
}

/// Who enqueues.
pub(crate) enum Source {
    Here(Client),
    /// `windlass enqueue --batch -`, and its stdin. The monotonic clock is the host's, so that the time from here counts.
    Other(Box<Child>, ChildStdin),
}

impl Source {
    fn other(url: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program does not find itself, to start it again")?;
        let mut command = Command::new(program);
        // Its URL may hold a password, and everybody sees arguments.
        command.args(["enqueue", "--batch", "-", "--json"]).env("WINDLASS_STORE", url);
        // Its answers are not read: what arrived is what ran.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().context("the process that enqueues cannot be started")?;
        let stdin = child.stdin.take().context("the process that enqueues has no stdin")?;
        Ok(Source::Other(Box::new(child), stdin))
    }

    /// Enqueues the jobs with these numbers on time, and answers when each call was made.
    pub(crate) async fn send(
        &mut self,
        env: &Env,
        tally: &Arc<Tally>,
        from: u64,
        to: u64,
    ) -> anyhow::Result<Vec<Sent>> {
        let began = env.monotonic();
        let mut calls: JoinSet<Result<Sent, Error>> = JoinSet::new();
        let mut sent = Vec::new();
        for number in from..to {
            let due = EVERY * u32::try_from(number - from).unwrap_or(u32::MAX);
            env.sleep(due.saturating_sub(env.monotonic().since(began))).await;
            match self {
                Source::Here(client) => {
                    let (client, job) = (client.clone(), tally.job(number));
                    calls.spawn(async move {
                        let called = client.env().monotonic();
                        client.enqueue(job).await.map(|_| (number, called))
                    });
                }
                Source::Other(_, stdin) => {
                    let line = tally.line(number);
                    sent.push((number, env.monotonic()));
                    stdin.write_all(line.as_bytes()).await.context("the process that enqueues has ended")?;
                    stdin.flush().await?;
                }
            }
        }
        while let Some(call) = calls.join_next().await {
            sent.push(call??);
        }
        Ok(sent)
    }

    async fn end(self) -> anyhow::Result<()> {
        let Source::Other(mut child, stdin) = self else { return Ok(()) };
        drop(stdin);
        let status = child.wait().await?;
        anyhow::ensure!(status.success(), "the process that enqueues failed: {status}");
        Ok(())
    }
}
