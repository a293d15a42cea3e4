//! How an error says what is to follow: retry (the default), retry after, snooze, bury. The wish survives `?` and
//! the contexts that are added on the way.

use std::time::Duration;

use anyhow::Context;
use windlass::{Client, Job, JobContext, ResultExt, RetryPolicy, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "order:ship", max_retry = 2, retention = "1h")]
struct Ship {
    order: String,
}

const SOON: Duration = Duration::from_millis(20);

/// Stands for a call to somebody else's service.
fn carrier(order: &str, ctx: &JobContext) -> Result<(), std::io::Error> {
    match order {
        "flaky" if ctx.attempt() == 1 => Err(std::io::Error::other("connection reset")),
        "broken" => Err(std::io::Error::other("internal error")),
        _ => Ok(()),
    }
}

fn weight(order: &str) -> anyhow::Result<u32> {
    let text = if order == "nonsense" { "a feather" } else { "12" };
    // No retry will make it a number.
    text.parse().or_bury().context("the weight of the order")
}

async fn ship(job: Ship, ctx: JobContext) -> windlass::Result {
    if job.order == "early" && ctx.snoozes() == 0 {
        // Not a failure: it comes back, and no attempt is burned.
        Err("the warehouse is closed").or_snooze(SOON)?;
    }
    if job.order == "limited" && ctx.attempt() == 1 {
        // The other side said when.
        Err("429 Too Many Requests").or_retry_after(SOON)?;
    }
    weight(&job.order)?;
    carrier(&job.order, &ctx).context("asking the carrier").map_err(windlass::JobError::from)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    // The default waits 15 seconds and more; an example should not.
    let policy = RetryPolicy::fixed(SOON);
    let server = Server::new(&client, Router::new().job(ship)).retry(policy).start().await?;

    for order in ["fine", "flaky", "limited", "early", "nonsense", "broken"] {
        let queued = client.enqueue(Ship { order: order.into() }).await?;
        let job = client.wait(queued.id()).await?;
        println!("{order}: {} in attempt {}, snoozes {}", job.state, job.attempt, job.snoozes);
        for error in &job.errors {
            println!("  attempt {}: {}", error.attempt, error.message);
        }
        if let Some(reason) = &job.reason {
            println!("  dead because: {reason}");
        }
    }
    server.shutdown().await;
    Ok(())
}
