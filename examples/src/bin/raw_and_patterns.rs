//! Kinds that are known only at run time: raw jobs, patterns, an alias for an old name, and a handler for the rest.

use windlass::{Client, Job, JobContext, Json, RawJob, Router, Server};

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "mail:send")]
struct Mail {
    to: String,
}

async fn mail(job: Mail, ctx: JobContext) -> windlass::Result<Json<String>> {
    Ok(Json(format!("{} mails {}", ctx.kind(), job.to)))
}

async fn report(job: RawJob) -> windlass::Result<Json<String>> {
    Ok(Json(format!("report `{}` from {} bytes", job.kind, job.payload.len())))
}

async fn daily(job: RawJob) -> windlass::Result<Json<String>> {
    Ok(Json(format!("the longer prefix has `{}`", job.kind)))
}

async fn anything(job: RawJob) -> windlass::Result<Json<String>> {
    Ok(Json(format!("nobody else runs `{}`", job.kind)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Exact kinds first, then the longest prefix, then the not-found handler. Without one, other kinds stay in line.
    let router = Router::new()
        .job(mail)
        .alias("email:deliver") // jobs that were enqueued under the old name
        .at("report:*", report)
        .at("report:daily:*", daily)
        .not_found(anything);
    let client = Client::open("memory:").await?;
    let server = Server::new(&client, router).start().await?;

    for (kind, payload) in [
        ("mail:send", r#"{"to":"ada"}"#),
        ("email:deliver", r#"{"to":"bob"}"#),
        ("report:weekly", "any bytes at all"),
        ("report:daily:sales", ""),
        ("sms:send", ""),
        ("mail:send", "no JSON"),
    ] {
        let job = RawJob::new(kind, payload).with(|options| options.retention(std::time::Duration::from_secs(60)));
        let job = client.wait(client.enqueue(job).await?.id()).await?;
        match &job.result {
            Some(result) => println!("{}", serde_json::from_slice::<String>(result)?),
            None => println!("{kind}: {} ({})", job.state, job.reason.as_deref().unwrap_or_default()),
        }
    }
    server.shutdown().await;
    Ok(())
}
