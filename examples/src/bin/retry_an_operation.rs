//! `retry`: an operation of this process, repeated until it works, is permanently wrong, or has had its chances.

use std::time::Duration;

use windlass::{ResultExt, RetryPolicy, retry};

fn fetch(call: u32) -> Result<&'static str, String> {
    if call < 3 { Err(format!("connection refused (call {call})")) } else { Ok("<html>") }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut calls = 0;
    let page = retry(RetryPolicy::exponential(Duration::from_millis(10)), || {
        calls += 1;
        let answer = fetch(calls);
        async move { answer }
    })
    .await?;
    println!("{page} after {calls} calls");

    // No retry makes it a number.
    let error = retry(RetryPolicy::default(), || async { "x".parse::<u32>().or_bury() }).await.unwrap_err();
    println!("{error}: {}", error.last().expect("an attempt was made"));

    let policy = RetryPolicy::fixed(Duration::from_millis(5));
    let error = retry(policy, || async { Err::<(), _>("still down") }).attempts(3).await.unwrap_err();
    println!("{error}: {}", error.last().expect("an attempt was made"));
    Ok(())
}
