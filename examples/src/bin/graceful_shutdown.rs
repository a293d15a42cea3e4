//! A shutdown waits for what runs; what takes too long is stopped and handed back, and nothing is burned.
//! `Server::run` does this at SIGTERM and SIGINT; here the program says when.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use windlass::{Client, Job, JobContext, Router, Server, State};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "work", retention = "1h")]
struct Work {
    millis: u64,
}

async fn work(job: Work, ctx: JobContext, State(began): State<Arc<Semaphore>>) -> windlass::Result {
    began.add_permits(1);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(job.millis)) => Ok(()),
        cause = ctx.cancelled() => Err(format!("stopped: {cause:?}").into()),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    let began = Arc::new(Semaphore::new(0));
    let server = Server::new(&client, Router::new().job(work).with_state(began.clone()))
        .concurrency(2)
        .shutdown_timeout(Duration::from_millis(500))
        .start()
        .await?;

    let short = client.enqueue(Work { millis: 50 }).await?;
    let long = client.enqueue(Work { millis: 3_600_000 }).await?;
    let _ = began.acquire_many(2).await?;
    println!("running: {}", server.health().busy);
    let waiting = client.enqueue(Work { millis: 1 }).await?;

    server.shutdown().await;
    for (name, queued) in [("short", &short), ("long", &long), ("waiting", &waiting)] {
        let job = client.inspect(queued.id()).await?;
        println!("{name}: {}, failures {}, crashes {}", job.state, job.failures, job.crashes);
    }
    println!("servers: {}", client.servers().await?.len());
    Ok(())
}
