//! Retry policies: the ready-made ones, one of your own, one for a kind; and errors that are no failures.

use std::{fmt, time::Duration};

use windlass::{Client, Job, JobContext, RetryPolicy, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "feed:fetch", max_retry = 1, retention = "1h")]
struct Fetch;

#[derive(Debug)]
struct ServiceDown;

impl fmt::Display for ServiceDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service is down for maintenance")
    }
}

impl std::error::Error for ServiceDown {}

async fn fetch(_: Fetch, ctx: JobContext) -> windlass::Result {
    if ctx.snoozes() < 3 {
        return Err(ServiceDown.into());
    }
    println!("fetched in attempt {} after {} waits", ctx.attempt(), ctx.snoozes());
    Ok(())
}

fn show(name: &str, policy: &RetryPolicy) {
    let waits: Vec<_> = (1..=5).map(|failures| policy.delay(failures, 42)).collect();
    println!("{name}: {waits:?}");
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let second = Duration::from_secs(1);
    show("doubling", &RetryPolicy::doubling(second));
    show("linear", &RetryPolicy::linear(second));
    show("fixed", &RetryPolicy::fixed(second));
    // The number of failures so far, and a random number that is the same for the same job.
    let steps = RetryPolicy::custom(|failures, _random| match failures {
        1 => Duration::from_secs(5),
        2..=3 => Duration::from_secs(60),
        _ => Duration::from_secs(3600),
    });
    show("custom", &steps);
    show("custom, capped", &steps.clone().cap(60 * second));

    let client = Client::open("memory:").await?;
    let server = Server::new(&client, Router::new().job(fetch))
        .retry(steps)
        .kind_retry("feed:*", RetryPolicy::fixed(Duration::from_millis(20)))
        // An outage of the other side burns no attempt: the job is put off.
        .is_failure(|error| !error.is::<ServiceDown>())
        .start()
        .await?;
    let queued = client.enqueue(Fetch).await?;
    let job = client.wait(queued.id()).await?;
    println!("{}, failures {}", job.state, job.failures);
    server.shutdown().await;
    Ok(())
}
