//! What happens to each job, told to whoever listens; and every error, as the handler returned it.

use std::time::Duration;

use windlass::{Client, Job, JobContext, RetryPolicy, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "page:fetch", max_retry = 1, retention = "1h")]
struct Fetch;

async fn fetch(_: Fetch, ctx: JobContext) -> windlass::Result {
    if ctx.attempt() == 1 {
        return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer").into());
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    let server = Server::new(&client, Router::new().job(fetch))
        .retry(RetryPolicy::fixed(Duration::from_millis(100)))
        // Called where the job runs, so it must not block: count, log, or send it on.
        .on_event(|event| {
            let state = event.state.map(|state| format!(" -> {state}")).unwrap_or_default();
            println!("{:?} {} attempt {}{state}", event.event, event.kind, event.attempt);
        })
        // The error itself, not its text: what an error tracker wants.
        .on_error(|error, ctx| {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            println!("error in attempt {}: {error} ({kind:?})", ctx.attempt());
        })
        .start()
        .await?;
    let queued = client.enqueue(Fetch).await?;
    client.wait(queued.id()).await?;
    server.shutdown().await;

    // The same numbers later, from the store.
    let stats = client.stats(Some(Duration::from_secs(3600)), None).await?;
    println!("completed {}, retried {}, failed {}", stats.completed, stats.retried, stats.failed);
    Ok(())
}
