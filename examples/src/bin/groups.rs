//! Groups: many small jobs wait together and become one. The aggregator is a function from their payloads to a job; each
//! member becomes a part of exactly one, whatever crashes when.

use std::time::Duration;

use windlass::{Client, Group, GroupRules, Job, RawJob, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "note", retention = "1h")]
struct Note {
    text: String,
}

/// One mail of many notes, to whoever the group is named after.
#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "email:digest", retention = "1h")]
struct Digest {
    to: String,
    lines: Vec<String>,
}

fn digest(group: &Group) -> windlass::Result<Digest> {
    let to = group.key.name.trim_start_matches("digest:").to_owned();
    let lines = group.payloads::<Note>()?.into_iter().map(|note| note.text).collect();
    Ok(Digest { to, lines })
}

async fn send(mail: Digest) -> windlass::Result {
    println!("to {}: {}", mail.to, mail.lines.join(", "));
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    let note = |to: &str, text: &str| Note { text: text.into() }.with(|options| options.group(format!("digest:{to}")));
    let first = client.enqueue(note("ann", "tea is ready")).await?;
    client.enqueue(note("ann", "so is cake")).await?;
    println!("it waits as {}", client.inspect(first.id()).await?.state);

    // As soon as nobody has joined for a moment, or there are three of them.
    let rules = GroupRules::new().grace(Duration::from_millis(100)).max_size(3);
    let server = Server::new(&client, Router::new().job(send)).aggregate("digest:*", rules, digest).start().await?;
    let member = client.wait(first.id()).await?;
    let into = member.flushed_into.expect("a member names the job that it became a part of");
    client.wait(&into).await?;

    // Three at once need not wait for the grace period, and jobs of any kind may belong to a group.
    let raw = |text: &str| {
        let job = RawJob::new("any:kind", format!(r#"{{"text":"{text}"}}"#));
        job.with(|options| options.group("digest:bob").retention(Duration::from_secs(3600)))
    };
    let queued = client.enqueue_all(["one", "two", "three"].map(raw)).await?;
    let member = client.wait(queued[0].id()).await?;
    client.wait(&member.flushed_into.expect("it has been flushed")).await?;
    server.shutdown().await;
    Ok(())
}
