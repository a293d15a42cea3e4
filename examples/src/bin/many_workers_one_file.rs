//! Several processes work on one SQLite file. This program starts three more of itself as workers, gives them jobs,
//! and ends one of them in the middle without warning: its jobs are run by the others.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    time::Duration,
};

use windlass::{Client, Job, JobFilter, JobState, Router, Server};

const STORE: &str = "sqlite:shared.db";
const JOBS: u64 = 200;

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "thumbnail", retention = "1h")]
struct Thumbnail {
    picture: u64,
}

async fn thumbnail(_: Thumbnail) -> windlass::Result {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("worker") { work().await } else { conduct().await }
}

/// A worker: runs until its standard input ends.
async fn work() -> anyhow::Result<()> {
    let client = Client::open(STORE).await?;
    let server = Server::new(&client, Router::new().job(thumbnail))
        .concurrency(2)
        .lease(Duration::from_secs(1)) // the default is 10 seconds; an example should not wait that long
        .start()
        .await?;
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
    server.shutdown().await;
    Ok(())
}

async fn conduct() -> anyhow::Result<()> {
    let client = Client::open(STORE).await?;
    let mut workers = (0..3).map(|_| start_worker()).collect::<Result<Vec<_>, _>>()?;
    while client.servers().await?.len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("workers: 3");
    client.enqueue_all((0..JOBS).map(|picture| Thumbnail { picture })).await?;

    tokio::time::sleep(Duration::from_millis(200)).await;
    workers[0].kill()?; // SIGKILL: it can hand nothing back
    workers[0].wait()?;
    println!("one killed");

    while client.census().await?.queues.iter().any(|queue| queue.by_state[JobState::Completed.code() as usize] < JOBS) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for worker in &mut workers[1..] {
        drop(worker.stdin.take());
        worker.wait()?;
    }
    let jobs = client.list(&JobFilter::default(), None, 1000).await?.items;
    let failures: u32 = jobs.iter().map(|job| job.failures).sum();
    let crashed = jobs.iter().filter(|job| job.crashes > 0).count();
    println!("completed: {}, failures: {failures}", jobs.len());
    println!("crashes counted apart: {}", if crashed > 0 { "yes" } else { "no" });
    Ok(())
}

fn start_worker() -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?).arg("worker").stdin(Stdio::piped()).spawn()
}
