//! As many jobs as a source has, in bounded memory: what is ready travels together, and the answers come as a stream.

use futures_util::{StreamExt, TryStreamExt, stream};
use windlass::{Client, Job, RawJob};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "row:import")]
struct Import {
    row: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;

    // From an iterator; nothing holds all the rows, and nothing holds all the answers.
    let queued = client.enqueue_iter((0..25_000).map(|row| Import { row }));
    let count = queued.try_fold(0u32, async |count, _| Ok(count + 1)).await?;
    println!("{count} rows are queued");

    // The first error is the last item: what came before it is in the store.
    let jobs = stream::iter(["a", "b", "", "d"]).map(|kind| RawJob::new(kind, "{}"));
    let mut answers = Box::pin(client.enqueue_stream(jobs));
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(queued) => println!("queued, new: {}", queued.is_new()),
            Err(error) => println!("refused: {error}"),
        }
    }
    Ok(())
}
