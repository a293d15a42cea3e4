//! Where a phase is measured: a store of its own in a temporary folder, or the one that the user names. That one is
//! left without jobs of ours.

use tempfile::TempDir;
use windlass::{Client, KindFilter, QueueName, Router, Server};

use super::tally::{KIND, QUEUE};
use crate::{commands::work, handlers::builtin};

/// Says where to open stores.
pub(crate) struct Place {
    url: Option<String>,
}

/// The store of one phase.
pub(crate) struct Site {
    client: Client,
    /// It is somebody's, and stays.
    shared: bool,
    /// Removed after the client is closed.
    _folder: Option<TempDir>,
}

impl Place {
    pub(crate) fn new(url: Option<&str>) -> Self {
        Self { url: url.map(str::to_owned) }
    }

    pub(crate) async fn open(&self) -> anyhow::Result<Site> {
        let site = match &self.url {
            Some(url) => Site { client: Client::open(url).await?, shared: !url.starts_with("memory:"), _folder: None },
            None => {
                let folder = tempfile::Builder::new().prefix("windlass-bench-").tempdir()?;
                let url = format!("sqlite:{}", folder.path().join("bench.db").display());
                Site { client: Client::open(&url).await?, shared: false, _folder: Some(folder) }
            }
        };
        site.clear().await?;
        Ok(site)
    }
}

impl Site {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.clear().await
    }

    /// How many of our jobs are in the store.
    pub(crate) async fn present(&self) -> anyhow::Result<u64> {
        let census = self.client.census().await?;
        let ours = census.queues.iter().filter(|queue| queue.name.as_str() == QUEUE);
        Ok(ours.flat_map(|queue| queue.by_state).sum())
    }

    /// Runs what an earlier phase, or a broken run, has left in somebody's store.
    async fn clear(&self) -> anyhow::Result<()> {
        let (queues, kinds) = ([QueueName::new(QUEUE)?], KindFilter::of([KIND])?);
        if !self.shared || self.client.store().outstanding(&queues, &kinds).await? == 0 {
            return Ok(());
        }
        let router = Router::new().at(KIND, builtin::noop);
        let server = Server::new(&self.client, router).queues([(QUEUE, 1)]).concurrency(50).start().await?;
        work::drained(&self.client, &server, &queues, &kinds).await;
        server.shutdown().await;
        Ok(())
    }
}
