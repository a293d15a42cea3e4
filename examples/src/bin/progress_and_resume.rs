//! A long job in steps: it shows how far it is, and after a shutdown another server goes on where it stopped.

use std::time::Duration;

use windlass::{Client, Job, JobContext, JobId, Router, Server, Update};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "book:print", retention = "1h")]
struct Print {
    pages: u32,
}

async fn print(job: Print, ctx: JobContext) -> windlass::Result {
    let mut steps = ctx.steps(1u32)?;
    while let Some(page) = steps.next().await? {
        ctx.log(format!("page {page}"));
        ctx.progress(f64::from(page) / f64::from(job.pages), format!("{page} of {}", job.pages));
        // Long enough to be seen.
        tokio::time::sleep(Duration::from_millis(150)).await;
        if page < job.pages {
            steps.go_on_at(page + 1);
        }
    }
    Ok(())
}

/// Prints each page that the job prints; ends after `page`, or with the job.
async fn follow(client: &Client, id: &JobId, page: u64) -> Result<(), windlass::Error> {
    let mut updates = client.watch(id);
    while let Some(update) = updates.next().await? {
        match update {
            Update::Line(line) if line.number <= page => println!("{}", line.line),
            Update::Line(_) => return Ok(()),
            Update::Ended(job) => println!("{} after {} failures, {:?}", job.state, job.failures, job.progress),
            _ => {}
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("sqlite:jobs.db").await?;
    let server = || Server::new(&client, Router::new().job(print)).shutdown_timeout(Duration::ZERO);
    let id = client.enqueue(Print { pages: 8 }).await?.id().clone();

    let first = server().start().await?;
    follow(&client, &id, 3).await?;
    first.shutdown().await;
    let stopped = client.inspect(&id).await?;
    println!("-- deployed; {} with a checkpoint: {}", stopped.state, stopped.checkpoint.is_some());

    let second = server().start().await?;
    client.wait(&id).await?;
    let job = client.inspect(&id).await?;
    let pages: Vec<_> = job.log.iter().map(|line| line.line.trim_start_matches("page ").to_owned()).collect();
    let mut once = pages.clone();
    once.dedup();
    println!(
        "{} in attempt {}; all pages printed: {}",
        job.state,
        job.attempt,
        once == ["1", "2", "3", "4", "5", "6", "7", "8"]
    );
    println!("{:?}", job.progress.map(|progress| (progress.fraction, progress.message.to_string())));
    second.shutdown().await;
    Ok(())
}
