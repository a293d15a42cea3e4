//! Results: returned by a handler, kept for the job's retention, waited for by anybody; and follow-up jobs.

use windlass::{Client, Error, Job, JobContext, Json, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "math:square", retention = "1h")]
struct Square {
    n: u64,
}

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "math:log", retention = "1h")]
struct Log {
    line: String,
}

async fn square(job: Square, ctx: JobContext) -> windlass::Result<Json<u64>> {
    let squared = job.n * job.n;
    if job.n > 10 {
        // Enqueued in the same step as the finish: if this run ends well and counts, exactly once.
        let log = Log { line: format!("{} squared is {squared}", job.n) };
        ctx.then(log.with(|options| options.id(format!("log-{}", job.n))))?;
    }
    Ok(Json(squared))
}

async fn log(job: Log) -> windlass::Result {
    println!("log: {}", job.line);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    let server = Server::new(&client, Router::new().job(square).job(log)).start().await?;

    let queued = client.enqueue(Square { n: 12 }).await?;
    let job = client.wait(queued.id()).await?;
    client.wait(&"log-12".parse()?).await?;
    let result: u64 = serde_json::from_slice(job.result.as_deref().unwrap_or_default())?;
    println!("result: {result}");

    // Many at once, each with its answer, in order.
    let queued = client.enqueue_all((1..=3).map(|n| Square { n })).await?;
    for queued in &queued {
        let job = client.wait(queued.id()).await?;
        println!("result: {}", String::from_utf8_lossy(job.result.as_deref().unwrap_or_default()));
    }

    // Without a retention a completed job is removed at once, and its result with it.
    let fleeting = Square { n: 5 }.with(|options| options.retention(std::time::Duration::ZERO));
    let queued = client.enqueue(fleeting).await?;
    match client.wait(queued.id()).await {
        Err(Error::Gone(_)) => println!("gone"),
        other => println!("{other:?}"),
    }
    server.shutdown().await;
    Ok(())
}
