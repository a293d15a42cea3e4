use serde::{Deserialize, Serialize};
use windlass::{Client, Job, Router, Server};

#[derive(Serialize, Deserialize, Job)]
#[job(kind = "email:send", max_retry = 5, retention = "1h")]
struct SendEmail {
    to: String,
}

async fn send_email(mail: SendEmail) -> windlass::Result {
    println!("mail to {}", mail.to); // an error would be recorded, and the job tried again with backoff
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("sqlite:jobs.db").await?; // or redis://.., postgres://.., memory:
    let server = Server::new(&client, Router::new().job(send_email)).concurrency(10).start().await?;
    let mail = client.enqueue(SendEmail { to: "ada@example.com".into() }).await?; // on disk from here on
    println!("{}", client.wait(mail.id()).await?.state);
    server.shutdown().await; // waits for what runs, or hands it back
    Ok(())
}
