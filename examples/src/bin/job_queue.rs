//! Named jobs in memory, for a program that needs no store: retries that hold no worker, status by id, a full queue.

use std::time::Duration;

use windlass::{Job, JobContext, JobOptions, JobQueue, QueueError, RetryPolicy, Router};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "image:resize")]
struct Resize {
    file: String,
}

/// Works in its second attempt.
async fn resize(job: Resize, ctx: JobContext) -> windlass::Result {
    if ctx.attempt() == 1 {
        return Err("the disk is busy".into());
    }
    println!("resized {} in attempt {}", job.file, ctx.attempt());
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let queue = JobQueue::builder(Router::new().job(resize))
        .workers(1)
        .capacity(2)
        .defaults(JobOptions::new().max_retry(3).retention(Duration::from_secs(60)))
        .retry(RetryPolicy::fixed(Duration::from_millis(50)))
        .start()
        .await?;

    let cat = queue.add(Resize { file: "cat.png".into() }).await?;
    let options = |o: JobOptions| o.process_in(Duration::from_millis(300));
    queue.add(Resize { file: "dog.png".into() }.with(options)).await?;
    match queue.add(Resize { file: "cow.png".into() }).await {
        Err(QueueError::Full(jobs)) => println!("there is room for {jobs} jobs only"),
        other => anyhow::bail!("unexpected: {other:?}"),
    }

    queue.wait(cat.id()).await?;
    let status = queue.status(cat.id()).await?;
    println!("{} after {} failure: {}", status.state, status.failures, status.errors[0].message);

    queue.drain().await?; // the other one and its retry included
    let refused = queue.add(Resize { file: "cow.png".into() }).await.unwrap_err();
    println!("after the drain: {refused}");
    Ok(())
}
