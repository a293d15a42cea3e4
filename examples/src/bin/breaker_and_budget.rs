//! What keeps an outage of the other side small: a breaker, which stops claiming a kind while most of its runs fail, and a
//! retry budget, which spreads its retries.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use windlass::{Breaker, Client, EventKind, Job, RetryBudget, RetryPolicy, Router, Server};

static DOWN: AtomicBool = AtomicBool::new(true);

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "bank:charge", retention = "1h")]
struct Charge;

async fn charge(_: Charge) -> windlass::Result {
    if DOWN.load(Ordering::Relaxed) { Err("the bank does not answer".into()) } else { Ok(()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    let ids = client.enqueue_all((0..6).map(|_| Charge)).await?;
    let server = Server::new(&client, Router::new().job(charge))
        .concurrency(1)
        .retry(RetryPolicy::fixed(Duration::from_millis(50)))
        .breaker("bank:*", Breaker::new().min_calls(3).open_for(Duration::from_secs(2)))
        // Plenty here; in earnest a tenth of the first runs.
        .retry_budget("bank:*", RetryBudget::new(1.0).per_minute(60))
        .on_event(|event| {
            if matches!(event.event, EventKind::BreakerOpened | EventKind::BreakerClosed) {
                println!("{:?} by a run of {}", event.event, event.kind);
            }
        });
    let server = server.start().await?;
    while server.health().breakers[0].until.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    DOWN.store(false, Ordering::Relaxed); // the bank is back; the next trial closes the breaker

    let mut untouched = 0;
    for id in &ids {
        // Those that were not tried while it was down have burned no attempt.
        untouched += u32::from(client.wait(id.id()).await?.attempt == 1);
    }
    println!("{untouched} of {} needed one attempt", ids.len());
    server.shutdown().await;
    Ok(())
}
