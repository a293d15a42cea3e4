//! Where a phase is measured: a store of its own in a temporary folder, or the one that the user names. That one is
//! left without jobs of ours.

use tempfile::TempDir;
use windlass::{Client, KindFilter, QueueName, Router, Server};

use super::tally::{KIND, QUEUE};
use crate::{commands::work, exit::Failure, handlers::builtin};

/// Says where to open stores.
pub(crate) struct Place {
    url: Option<String>,
}

/// The store of one phase.
pub(crate) struct Site {
    client: Client,
    url: String,
    /// It is somebody's, and stays.
    shared: bool,
    /// Removed after the client is closed.
    _folder: Option<TempDir>,
}

impl Place {
    pub(crate) fn new(url: Option<&str>) -> Self {
        Self { url: url.map(str::to_owned) }
    }

    /// Refuses a store that another process cannot reach.
    pub(crate) fn refuse_in_process(&self) -> Result<(), Failure> {
        match &self.url {
            Some(url) if in_process(url) => Err(Failure::usage("no other process can enqueue into a store in memory")
                .help("leave out --from-process, or name another store")),
            _ => Ok(()),
        }
    }

    pub(crate) async fn open(&self) -> anyhow::Result<Site> {
        let (url, folder) = match &self.url {
            Some(url) => (url.clone(), None),
            None => {
                let folder = tempfile::Builder::new().prefix("windlass-bench-").tempdir()?;
                (format!("sqlite:{}", folder.path().join("bench.db").display()), Some(folder))
            }
        };
        let shared = self.url.is_some() && !in_process(&url);
        let site = Site { client: Client::open(&url).await?, url, shared, _folder: folder };
        site.clear().await?;
        Ok(site)
    }
}

impl Site {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Where other processes find it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Opens the store again, as a process that starts now would: its caches are cold and its files are tidied up.
    pub(crate) async fn reopen(&mut self) -> anyhow::Result<()> {
        if !in_process(&self.url) {
            self.client = Client::builder().open("memory:").await?;
            self.client = Client::open(&self.url).await?;
        }
        Ok(())
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
        if !self.shared || self.client.store().outstanding(&queues, &kinds, &[]).await? == 0 {
            return Ok(());
        }
        let router = Router::new().at(KIND, builtin::noop);
        let server = Server::new(&self.client, router).queues([(QUEUE, 1)]).concurrency(50).start().await?;
        work::drained(&self.client, &server, &queues, &kinds, &[]).await?;
        server.shutdown().await;
        Ok(())
    }
}

fn in_process(url: &str) -> bool {
    url.starts_with("memory:")
}
