//! The smallest program: one kind of job, one handler, one server, in memory.

use windlass::{Client, Job, JobContext, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "greet", retention = "1h")]
struct Greet {
    name: String,
}

// The job comes first; what else a handler needs it asks for.
async fn greet(job: Greet, ctx: JobContext) -> windlass::Result {
    println!("hello, {} (attempt {} of at most {})", job.name, ctx.attempt(), ctx.max_retry() + 1);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    let server = Server::new(&client, Router::new().job(greet)).start().await?;

    let queued = client.enqueue(Greet { name: "Ada".into() }).await?;
    let job = client.wait(queued.id()).await?;
    println!("the job is {}", job.state);

    server.shutdown().await;
    Ok(())
}
