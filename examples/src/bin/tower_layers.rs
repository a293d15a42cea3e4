//! Layers of the tower ecosystem around handlers: a timeout and a limit that two handlers share.

use std::time::Duration;

use tower::{
    limit::ConcurrencyLimitLayer,
    timeout::{TimeoutLayer, error::Elapsed},
};
use windlass::{Client, Job, JobError, Router, Server, middleware};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "bank:balance", retention = "1h")]
struct Balance;

async fn balance(_: Balance) -> windlass::Result {
    println!("balance asked");
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "bank:statement", retention = "1h")]
struct Statement;

async fn statement(_: Statement) -> windlass::Result {
    println!("statement asked; no answer");
    std::future::pending().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    // What follows from an error of the layer is ours to say: here no retry would help.
    let timeout = middleware::tower(TimeoutLayer::new(Duration::from_millis(100))).on_error(|error| {
        let late = error.is::<Elapsed>();
        let error = JobError::from(error);
        if late { error.bury() } else { error }
    });
    let router = Router::new()
        .job(balance)
        .job(statement)
        .layer(timeout)
        // The bank takes one call at a time, of whatever kind. It is outside: who waits here is not timed yet.
        .layer(middleware::tower(ConcurrencyLimitLayer::new(1)));
    let server = Server::new(&client, router).start().await?;
    let ids = [client.enqueue(Statement).await?, client.enqueue(Balance).await?];
    for id in &ids {
        let job = client.wait(id.id()).await?;
        let error = job.errors.first().map(|error| format!(": {}", error.message)).unwrap_or_default();
        println!("{} {}{error}", job.spec.kind, job.state);
    }
    server.shutdown().await;
    Ok(())
}
