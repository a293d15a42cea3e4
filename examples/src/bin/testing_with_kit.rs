//! A test of a program with jobs, step by step: nothing runs by itself, time moves when the test says so, and no line
//! of it waits. In a program this stands in `#[tokio::test]`s, with windlass's feature `testing` in `[dev-dependencies]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use windlass::{
    Client, Job, JobContext, RetryPolicy, Router,
    testing::{Kit, assert_enqueued, refute_enqueued},
};

#[derive(Serialize, Deserialize, Job)]
#[job(kind = "email:send", max_retry = 3)]
struct SendEmail {
    to: String,
}

async fn send_email(mail: SendEmail, ctx: JobContext) -> windlass::Result {
    match mail.to.as_str() {
        "flaky@example.com" if ctx.attempt() == 1 => Err("the mail server is busy".into()),
        to if to.contains('@') => Ok(()),
        _ => Err("no address".into()),
    }
}

/// The code under test.
async fn sign_up(jobs: &Client, email: &str) -> Result<(), windlass::Error> {
    if !email.is_empty() {
        jobs.enqueue(SendEmail { to: email.into() }).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), windlass::Error> {
    let router = Router::new().job(send_email);
    let kit = Kit::builder(router).server(|s| s.retry(RetryPolicy::fixed(Duration::from_secs(60)))).build();
    let client = kit.client();

    for email in ["ada@example.com", "", "flaky@example.com", "nobody"] {
        sign_up(&client, email).await?;
    }
    let mails = kit.enqueued::<SendEmail>().await;
    println!("waiting: {:?}", mails.iter().map(|mail| &mail.to).collect::<Vec<_>>());
    assert_enqueued::<SendEmail>(&client, |mail| mail.to == "ada@example.com").await;
    refute_enqueued::<SendEmail>(&client, |mail| mail.to.is_empty()).await;

    let ran = kit.run_due().await;
    println!("at once: {} completed, {} to be retried", ran.completed, ran.retried);
    let ran = kit.advance(Duration::from_secs(3600)).await;
    println!("within the hour: {} completed, {} retried again, {} dead", ran.completed, ran.retried, ran.dead);

    let last = kit.perform_attempt(4, SendEmail { to: "nobody".into() }).await;
    println!("a last attempt: {last}");
    Ok(())
}
