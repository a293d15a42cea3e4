//! An in-process pool: a handle for each job, a timeout, a panic as a result, a stream of results, an orderly end.

use std::time::Duration;

use windlass::{WorkerPool, pool::RunError};

async fn square(n: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(n)).await;
    n * n
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let pool = WorkerPool::new(5).capacity(100).timeout(Duration::from_secs(30));

    // One handle a job: there is no channel that somebody has to empty.
    let mut handles = Vec::new();
    for n in 1..=10 {
        handles.push(pool.submit(square(n)).await?);
    }
    let mut sum = 0;
    for handle in handles {
        sum += handle.await?;
    }
    println!("the sum of the squares is {sum}");

    // What goes wrong is the result of its job alone.
    let stuck = pool.submit_within(Duration::from_millis(10), std::future::pending::<()>()).await?;
    println!("{}", stuck.await.unwrap_err());
    std::panic::set_hook(Box::new(|_| {})); // keeps the example quiet
    let broken = pool.submit(async { panic!("no paper") }).await?;
    assert_eq!(broken.await, Err::<(), _>(RunError::Panicked("no paper".into())));

    // What blocks or computes runs on a thread of its own, and still takes one of the five workers.
    let counted = pool.submit_blocking(|| (1..=1000_u64).filter(|n| n % 7 == 0).count()).await?;
    println!("{} multiples of seven", counted.await?);

    // Or a stream, in the order in which jobs end. Whoever does not read it holds nobody up.
    let (jobs, mut results) = pool.results(1000);
    for n in [60, 5, 30] {
        jobs.submit(square(n)).await?;
    }
    drop(jobs);
    while let Some(finished) = results.next().await {
        println!("job {} answered {}", finished.number, finished.result?);
    }

    pool.drain().await;
    println!("after the drain: {}", pool.submit(async {}).await.unwrap_err());
    Ok(())
}
