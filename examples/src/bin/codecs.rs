//! Payloads in another format: MessagePack for a type, named in a header, beside jobs that were written as JSON.

use windlass::{Client, Job, RawJob, Router, Server, codec::CODEC_HEADER};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "samples:store", codec = "msgpack", retention = "1h")]
struct Samples {
    values: Vec<u16>,
}

async fn store(samples: Samples) -> windlass::Result {
    println!("{:?}", samples.values);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = Client::open("memory:").await?;
    let server = Server::new(&client, Router::new().job(store)).start().await?;

    let packed = client.enqueue(Samples { values: vec![1, 20, 300] }).await?;
    let job = client.wait(packed.id()).await?;
    println!("{}: {} bytes", job.spec.headers[CODEC_HEADER], job.spec.payload.len());

    // From before the type changed its codec: without the header a payload is JSON.
    let old =
        RawJob::new("samples:store", r#"{"values":[7]}"#).with(|o| o.retention(std::time::Duration::from_secs(60)));
    let old = client.enqueue(old).await?;
    println!("{}", client.wait(old.id()).await?.state);

    // A codec that this program does not know.
    let foreign = RawJob::new("samples:store", "..").with(|o| o.header(CODEC_HEADER, "cbor"));
    let foreign = client.enqueue(foreign).await?;
    let job = client.wait(foreign.id()).await?;
    println!("{}: {}", job.reason.unwrap_or_default(), job.errors[0].message);
    server.shutdown().await;
    Ok(())
}
