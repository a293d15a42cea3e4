//! A run that is told to stop: because somebody cancels its job, or because its time is up.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use windlass::{Client, Job, JobContext, Router, Server, State};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "export:all", max_retry = 0, retention = "1h")]
struct Export {
    name: String,
}

async fn export(job: Export, ctx: JobContext, State(began): State<Arc<Notify>>) -> windlass::Result {
    println!("{}: begun", job.name);
    began.notify_one();
    loop {
        tokio::select! {
            // Tidy up and leave. What goes on is dropped at an await after a grace of 5 seconds.
            cause = ctx.cancelled() => {
                println!("{}: told to stop: {cause:?}", job.name);
                return Ok(());
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {} // a piece of work
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let began = Arc::new(Notify::new());
    let client = Client::open("memory:").await?;
    let server = Server::new(&client, Router::new().job(export).with_state(began.clone())).start().await?;

    let queued = client.enqueue(Export { name: "cancelled".into() }).await?;
    began.notified().await;
    // From anywhere: another process, the command line. The run hears of it within a second.
    let state = client.cancel(queued.id(), "nobody needs it").await?;
    println!("still {state}, but asked to stop");
    let job = client.wait(queued.id()).await?;
    println!("{}: {}", job.state, job.reason.as_deref().unwrap_or_default());

    let short = Export { name: "slow".into() }.with(|options| options.timeout(Duration::from_millis(50)));
    let job = client.wait(client.enqueue(short).await?.id()).await?;
    // A run that was told to stop counts as stopped, although its handler said `Ok`.
    println!("{}: {} ({})", job.state, job.reason.as_deref().unwrap_or_default(), job.errors[0].message);

    // One that has not started is cancelled at once.
    let later = Export { name: "later".into() }.with(|options| options.process_in(Duration::from_secs(3600)));
    let queued = client.enqueue(later).await?;
    println!("{}", client.cancel(queued.id(), "changed my mind").await?);

    server.shutdown().await;
    Ok(())
}
