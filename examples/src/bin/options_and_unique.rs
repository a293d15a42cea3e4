//! Options of a job, of a call and of a client; priorities; jobs that are there only once.

use std::time::Duration;

use windlass::{Client, Enqueued, Job, JobFilter, JobOptions, Router, Server, UniqueBy};

/// The type's own options may use its payload, when `Job` is written by hand.
#[derive(serde::Serialize, serde::Deserialize)]
struct Resize {
    url: String,
    name: String,
}

impl Job for Resize {
    const KIND: &'static str = "image:resize";

    fn options(&self) -> JobOptions {
        JobOptions::new().queue("images").unique(UniqueBy::until_done(&self.url))
    }
}

async fn resize(job: Resize) -> windlass::Result {
    println!("resizing {}", job.name);
    Ok(())
}

fn image(name: &str) -> Resize {
    Resize { url: format!("https://example.com/{name}.png"), name: name.into() }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // What neither the call nor the job says comes from the client.
    let defaults = JobOptions::new().retention(Duration::from_secs(3600)).tag("example");
    let client = Client::builder().defaults(defaults).open("memory:").await?;

    client.enqueue(image("cat").with(|options| options.priority(-5))).await?;
    client.enqueue(image("dog")).await?;
    client.enqueue(image("owl").with(|options| options.priority(5))).await?;
    client.enqueue(image("yak").with(|options| options.process_in(Duration::from_secs(3600)))).await?;

    // A second job for the same picture is refused while the first one is not done.
    match client.enqueue(image("dog")).await? {
        Enqueued::New(_) => println!("dog: queued twice"),
        Enqueued::Duplicate(_, state) => println!("dog: already {}", state.expect("it is there")),
    }
    // The caller's own id does the same, whatever the kind.
    let named = || image("ant").with(|options| options.id("ant-1"));
    println!("ant: new {}", client.enqueue(named()).await?.is_new());
    println!("ant again: new {}", client.enqueue(named()).await?.is_new());

    // One slot, so that the order shows: the highest priority first, then as they came.
    let server = Server::new(&client, Router::new().job(resize)).queues([("images", 1)]).concurrency(1).start().await?;
    client.wait(&"ant-1".parse()?).await?;
    let cat = client.list(&JobFilter::default(), None, 1).await?.items.remove(0);
    client.wait(cat.id()).await?;
    server.shutdown().await;

    for job in client.list(&JobFilter::default(), None, 10).await?.items {
        let (state, priority, tags) = (job.state, job.spec.priority, &job.spec.tags);
        println!("{} in {}: {state}, priority {priority}, tags {tags:?}", job.spec.kind, job.spec.queue);
    }
    Ok(())
}
