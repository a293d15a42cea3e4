//! A server that works, jobs that come in meanwhile, and what must have become of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use windlass::{
    Client, Env, EventKind, JobError, JobOptions, JobState as State, RawJob, Router, RunningServer, Server,
    store::{Inspect, postgres::PostgresStore},
};

use crate::{SECOND, log::Log, soon};

/// A server on a store, and what it tells.
pub struct Work {
    pub server: RunningServer,
    pub client: Client,
    pub log: Log,
    store: Arc<PostgresStore>,
}

impl Work {
    pub async fn on(store: PostgresStore) -> Self {
        Self::with(store, |server| server).await
    }

    pub async fn with(store: PostgresStore, options: impl FnOnce(Server) -> Server) -> Self {
        let store = Arc::new(store);
        let client = Client::builder().env(Env::system()).on(store.clone());
        let log = Log::new();
        let router = Router::new().at("x", |_: RawJob| async { Ok::<_, JobError>(()) });
        let server = Server::new(&client, router).concurrency(10).on_event(log.listener());
        let server = options(server).start().await.expect("start");
        Self { server, client, log, store }
    }

    /// Enqueues so many jobs, so many a call, each until it is acknowledged.
    pub async fn add(&self, many: usize, at_once: usize) {
        add(&self.client, many, at_once).await;
    }

    /// All have ended well, and the end of each was accepted once; nothing is held, nothing is left, all counts agree.
    /// `reruns`: a run may have been repeated, because a claim was lost with the server.
    pub async fn exact(&self, many: usize, reruns: bool) {
        soon("every job has ended", async {
            while self.completed().await < many {
                self.client.env().sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        // The store has it before the server hears of it, which may have to ask again.
        soon("the server has heard of every end", async {
            while self.times(EventKind::Finished).len() < many {
                self.client.env().sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let census = self.client.census().await.expect("census");
        let mut counts = [0; 9];
        counts[State::Completed.code() as usize] = many as u64;
        assert_eq!((census.enqueued, census.queues[0].by_state), (many as u64, counts));
        let tallies = self.store.tallies(windlass::Timestamp::from_micros(0)).await.expect("tallies");
        let completed: u64 = tallies.lines.iter().map(|line| line.bucket.completed).sum();
        assert_eq!(completed, many as u64, "each end was counted once");
        let ends = self.times(EventKind::Finished);
        assert_eq!((ends.len(), ends.values().max()), (many, Some(&1)), "each end was accepted once");
        let starts = self.times(EventKind::Started);
        assert!(reruns || starts.values().all(|times| *times == 1), "each ran once");
    }

    async fn completed(&self) -> usize {
        let completed = |census: windlass::store::Census| {
            census.queues.iter().map(|queue| queue.by_state[State::Completed.code() as usize]).sum::<u64>() as usize
        };
        self.client.census().await.map_or(0, completed)
    }

    fn times(&self, kind: EventKind) -> HashMap<windlass::JobId, u32> {
        let mut times = HashMap::new();
        let of_kind = self.log.all().into_iter().filter(|event| event.event == kind);
        of_kind.for_each(|event| *times.entry(event.id).or_default() += 1);
        times
    }

    /// What happened how often, for a test that wants to say it.
    pub fn told(&self) -> BTreeMap<String, u32> {
        let mut told = BTreeMap::new();
        self.log.all().iter().for_each(|event| *told.entry(format!("{:?}", event.event)).or_default() += 1);
        told
    }
}

pub async fn add(client: &Client, many: usize, at_once: usize) {
    for _ in 0..many / at_once {
        // With ids of their own, a repeat is the same jobs.
        let job = |_| {
            let id = client.env().new_id().to_string();
            RawJob::new("x", "{}").with(|_| JobOptions::new().id(id).retention(1000 * SECOND))
        };
        let jobs: Vec<_> = (0..at_once).map(job).collect();
        while client.enqueue_all(jobs.clone()).await.is_err() {
            client.env().sleep(Duration::from_millis(20)).await;
        }
    }
}
