//! The worker process: a server for the demo's three kinds. It works until its parent closes its standard input
//! (so that no worker outlives a parent that was killed) or a signal ends it.

use std::{io::Read, time::Duration};

use anyhow::Context;
use windlass::{Client, RetryPolicy, Router, Server, middleware};

use super::{DemoArgs, LEASE, email, events, faults, image, open, report, stage::Stage};

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let url = args.database.context("a worker of the demo is started by the demo itself; run `windlass demo`")?;
    let client = open(&url).await?;
    let stage = Stage::new(args.dir, Duration::from_millis(args.pace_ms), email::Mailer::from_env()?)?;
    let events = events::writer();
    let server = server(&client, stage, args.concurrency as usize);
    let server = server
        .on_event(move |event| {
            let _ = events.send(event.clone());
        })
        .start()
        .await?;
    tokio::select! {
        () = parent_gone() => {}
        () = windlass::shutdown_signal() => {}
    }
    server.shutdown().await;
    Ok(())
}

fn server(client: &Client, stage: Stage, concurrency: usize) -> Server {
    Server::new(client, router(stage))
        .concurrency(concurrency)
        .queues([("images", 3), ("mail", 3), ("reports", 1)])
        .lease(LEASE)
        // Hold only what runs: the jobs of the demo are long, and two workers share few of them.
        .prefetch(0)
        .retry(RetryPolicy::doubling(Duration::from_millis(400)))
        .shutdown_timeout(Duration::from_secs(5))
}

fn router(stage: Stage) -> Router {
    Router::new()
        .job(image::process)
        .job(email::send)
        .job(report::generate)
        .layer(middleware::from_fn(faults::rehearse))
        .with_state(stage)
}

/// Resolves when our standard input ends. On a thread of its own: the runtime would wait for a blocked read.
async fn parent_gone() {
    let (gone, wait) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while std::io::stdin().read(&mut rest).is_ok_and(|read| read > 0) {}
        drop(gone);
    });
    let _ = wait.await;
}

#[cfg(test)]
mod tests {
    use windlass::{JobFilter, store::Dimension};

    use super::*;
    use crate::demo::{account, outdir::OutDir, parent::all, photos, plan, report::GenerateReport};

    #[tokio::test(flavor = "multi_thread")]
    async fn one_server_works_through_the_whole_plan() {
        let folder = tempfile::tempdir().unwrap();
        let out = OutDir::claim(folder.path(), false).unwrap();
        let client = open("memory:").await.unwrap();
        let stage = Stage::new(folder.path().to_owned(), Duration::from_millis(1), email::Mailer::Outbox).unwrap();
        let server = server(&client, stage, 4).start().await.unwrap();
        let plan = plan::plan(40, &photos::built_in());
        let started = plan.enqueue(&client).await.unwrap();
        for id in &started.ids {
            client.wait(id).await.unwrap();
        }
        while client.stats(None, None).await.unwrap().total < plan.len() as u64
            || client.store().outstanding(&queues(), &windlass::KindFilter::of(["*"]).unwrap(), &[]).await.unwrap() > 0
        {
            client.env().sleep(Duration::from_millis(20)).await;
        }
        let report = client.enqueue(GenerateReport::about(&[], None)).await.unwrap().id().clone();
        client.wait(&report).await.unwrap();
        let jobs = all(&client, &JobFilter::default()).await.unwrap();
        let stats = client.stats(None, Some(Dimension::Kind)).await.unwrap();
        let expected =
            account::Expected { started: &started, report: Some(&report), own_pictures: false, out: out.path() };
        assert_eq!(account::missing(&jobs, &stats, &expected), Vec::<String>::new());
        assert_eq!((jobs.len(), started.doomed.len()), (40, 2));
        server.shutdown().await;
    }

    fn queues() -> Vec<windlass::QueueName> {
        ["images", "mail", "reports"].into_iter().map(|name| windlass::QueueName::new(name).unwrap()).collect()
    }
}
