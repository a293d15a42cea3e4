//! Handlers that block or compute: plain functions on threads of their own, beside async ones that go on meanwhile.

use windlass::{Client, Job, JobContext, Json, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "primes:count", retention = "1h")]
struct CountPrimes {
    below: u64,
}

/// No `async`: it keeps its thread until it is done, and asks now and then whether it should stop.
fn count_primes(job: CountPrimes, ctx: JobContext) -> windlass::Result<Json<usize>> {
    let is_prime = |n: &u64| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    let count = (2..job.below).take_while(|_| !ctx.is_cancelled()).filter(is_prime).count();
    println!("on thread {}", std::thread::current().name().unwrap_or("?"));
    Ok(Json(count))
}

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "greet", retention = "1h")]
struct Greet;

async fn greet(_: Greet) -> windlass::Result<Json<String>> {
    Ok(Json("hello".into()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    let router = Router::new().job_blocking(count_primes).job(greet);
    // Two primes:count at a time in this server, however long the backlog is; the others wait in the store.
    let server = Server::new(&client, router).concurrency(10).blocking_threads(2).start().await?;
    let primes = client.enqueue(CountPrimes { below: 10_000 }).await?;
    let primes = client.wait(primes.id()).await?;
    println!("{} primes", String::from_utf8_lossy(&primes.result.unwrap_or_default()));
    let hello = client.enqueue(Greet).await?;
    println!("{}", client.wait(hello.id()).await?.state);
    server.shutdown().await;
    Ok(())
}
