//! A queue of named jobs in memory: a thin face on the memory store and a server, for programs that want names, retries
//! and a look at each job, and need nothing to outlive them. Moving to a durable store later changes the set-up alone.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use thiserror::Error;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, Enqueue},
    decide::retry::RetryPolicy,
    env::Env,
    error::Error as CallError,
    job::{DEFAULTS, JobId, JobOptions, JobRecord, Kind, QueueName, State},
    server::{RunningServer, Server, router::Router},
    store::Enqueued,
};

/// How many jobs that have not ended a queue holds that says nothing else.
const CAPACITY: usize = 10_000;
/// How long what became of a job can be asked for, if the queue's defaults say nothing else.
const KEPT: Duration = Duration::from_secs(300);

/// Named jobs in memory, with retries that hold no worker while they wait.
///
/// It takes the same [`Router`], the same jobs and the same options as a [`Server`] on a durable store. What it holds
/// ends with the process. Dropping it begins the stop without waiting for it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::{JobQueue, RawJob, Router};
///
/// async fn resize(job: RawJob) -> windlass::Result {
///     println!("resizing {:?}", job.payload);
///     Ok(())
/// }
///
/// let queue = JobQueue::builder(Router::new().at("resize", resize)).workers(4).capacity(100).start().await?;
/// let added = queue.add(RawJob::new("resize", "cat.png")).await?;
/// queue.wait(added.id()).await?;
/// assert_eq!(queue.status(added.id()).await?.state, windlass::JobState::Completed);
/// queue.drain().await?;
/// assert!(queue.add(RawJob::new("resize", "dog.png")).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct JobQueue(Arc<Inner>);

struct Inner {
    client: Client,
    capacity: usize,
    door: Mutex<Door>,
    stop: CancellationToken,
}

struct Door {
    open: bool,
    server: Option<RunningServer>,
}

/// Why a job was not added.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum QueueError {
    /// As many jobs as the queue has room for have not ended.
    #[error(
        "the queue holds {0} jobs that have not ended and has no room; add it later, or give it more with capacity"
    )]
    Full(usize),
    /// No worker of this queue would ever run it.
    #[error(
        "no worker of the queue runs `{kind}` in `{queue}`: add its handler to the router, and other names of queues than \
         `default` with JobQueueBuilder::server; a job with a group needs an aggregator there"
    )]
    Unserved {
        /// The job's kind.
        kind: Kind,
        /// The line that it asks for.
        queue: QueueName,
    },
    /// The queue was drained or stopped, or its parent was cancelled.
    #[error("the queue is stopped and takes no more jobs")]
    Stopped,
    /// The job has a value that it may not have.
    #[error(transparent)]
    Job(#[from] CallError),
}

/// Sets up a [`JobQueue`]; see [`JobQueue::builder`].
#[must_use = "a queue does nothing until it is started"]
pub struct JobQueueBuilder {
    router: Router,
    workers: usize,
    capacity: usize,
    defaults: JobOptions,
    policy: RetryPolicy,
    configure: Box<dyn FnOnce(Server) -> Server + Send>,
    parent: Option<CancellationToken>,
    env: Env,
}

impl JobQueueBuilder {
    /// How many jobs run at once. Default: 10.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many jobs that have not ended it holds: waiting, running, and between two attempts (at least one). Default:
    /// 10,000.
    pub fn capacity(mut self, jobs: usize) -> Self {
        self.capacity = jobs.max(1);
        self
    }

    /// Options for the jobs that leave them out: retries, timeout, and the retention, for which what became of a job
    /// can be asked. Default: those of every [`Client`], and five minutes.
    pub fn defaults(mut self, options: JobOptions) -> Self {
        self.defaults = options;
        self
    }

    /// The waits between attempts. Default: Asynq's.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Whatever else a [`Server`] can be told: queues, limits by kind, hooks.
    pub fn server(mut self, configure: impl FnOnce(Server) -> Server + Send + 'static) -> Self {
        self.configure = Box::new(configure);
        self
    }

    /// [Stops](JobQueue::stop) the queue when this token is cancelled.
    pub fn cancel_on(mut self, parent: CancellationToken) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Other clocks, for tests.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Config`](CallError::Config) for what is set up wrongly.
    pub async fn start(self) -> Result<JobQueue, CallError> {
        let defaults = self.defaults.or(JobOptions::new().retention(KEPT));
        let client = Client::builder().env(self.env.clone()).defaults(defaults).open("memory:").await?;
        let server = Server::new(&client, self.router).concurrency(self.workers).retry(self.policy);
        let server = (self.configure)(server).start().await?;
        let stop = self.parent.as_ref().map_or_else(CancellationToken::new, CancellationToken::child_token);
        let door = Mutex::new(Door { open: true, server: Some(server) });
        let inner = Arc::new(Inner { client, capacity: self.capacity, door, stop });
        if self.parent.is_some() {
            self.env.spawn(stop_with_parent(Arc::downgrade(&inner), inner.stop.clone()));
        }
        Ok(JobQueue(inner))
    }
}

impl JobQueue {
    /// A queue for the jobs that this router handles.
    pub fn builder(router: Router) -> JobQueueBuilder {
        JobQueueBuilder {
            router,
            workers: DEFAULTS.concurrency,
            capacity: CAPACITY,
            defaults: JobOptions::new(),
            policy: RetryPolicy::default(),
            configure: Box::new(|server| server),
            parent: None,
            env: Env::system(),
        }
    }

    /// Adds a job. It runs at once, or when its options say.
    ///
    /// # Errors
    /// [`QueueError::Full`], [`QueueError::Stopped`], [`QueueError::Unserved`] for a job that nobody here would run, or
    /// [`QueueError::Job`] for a value that it may not have.
    pub async fn add(&self, job: impl Enqueue) -> Result<Enqueued, QueueError> {
        let job = self.0.client.prepare(job).map_err(CallError::from)?;
        // Held until the job is in, so that two callers cannot both take the last place.
        let door = self.0.door.lock().await;
        if !door.open || self.0.stop.is_cancelled() {
            return Err(QueueError::Stopped);
        }
        if self.0.unfinished().await? >= self.0.capacity as u64 {
            return Err(QueueError::Full(self.0.capacity));
        }
        if !door.server.as_ref().is_some_and(|server| server.serves(&job.spec)) {
            return Err(QueueError::Unserved { kind: job.spec.kind.clone(), queue: job.spec.queue.clone() });
        }
        Ok(self.0.client.enqueue_prepared(job).await?)
    }

    /// What became of a job: its state, its attempts, its errors, its result.
    ///
    /// # Errors
    /// [`Error::Gone`](CallError::Gone) once its retention is over, [`Error::NotFound`](CallError::NotFound) for an id
    /// that nobody made.
    pub async fn status(&self, id: &JobId) -> Result<JobRecord, CallError> {
        self.0.client.inspect(id).await
    }

    /// Waits until a job has ended: completed, dead or cancelled.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn wait(&self, id: &JobId) -> Result<JobRecord, CallError> {
        self.0.client.wait(id).await
    }

    /// The client beneath, to cancel, redrive, list and count. What is enqueued through it, or by a handler, is not
    /// refused by the capacity, but counts for it.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Takes no more jobs, and returns when every one has ended, those that are scheduled or wait for their next
    /// attempt included. What was enqueued past [`add`](Self::add) and nobody here runs is not waited for.
    ///
    /// # Errors
    /// None that a memory store has; those of [`Client::census`].
    pub async fn drain(&self) -> Result<(), CallError> {
        self.0.door.lock().await.open = false;
        let mut wakeups = self.0.client.store().wakeups();
        loop {
            wakeups.mark_seen();
            if self.0.outstanding().await? == 0 {
                break;
            }
            let env = self.0.client.env();
            tokio::select! {
                biased;
                // A busy queue hints all the time: look at most every few milliseconds.
                () = wakeups.changed() => env.sleep(Duration::from_millis(2)).await,
                () = env.sleep(Duration::from_millis(100)) => {}
                () = self.0.stop.cancelled() => break,
            }
        }
        self.stop().await.map(drop)
    }

    /// Takes no more jobs, gives those that run the server's shutdown timeout to end, and returns how many had not
    /// ended: they are never run.
    ///
    /// # Errors
    /// None that a memory store has; those of [`Client::census`].
    pub async fn stop(&self) -> Result<u64, CallError> {
        self.0.stop().await;
        self.0.unfinished().await
    }
}

impl Inner {
    async fn stop(&self) {
        // Held to the end, so that whoever stops it, too, waits as long.
        let mut door = self.door.lock().await;
        door.open = false;
        self.stop.cancel();
        if let Some(server) = door.server.take() {
            server.shutdown().await;
        }
    }

    /// What its workers have still to see to; nothing once they have gone.
    async fn outstanding(&self) -> Result<u64, CallError> {
        match &self.door.lock().await.server {
            Some(server) => Ok(server.outstanding().await?),
            None => Ok(0),
        }
    }

    async fn unfinished(&self) -> Result<u64, CallError> {
        let unfinished = |state: &State| !state.is_terminal();
        let places: Vec<usize> =
            State::ALL.iter().filter(|state| unfinished(state)).map(|state| state.code().into()).collect();
        let census = self.client.census().await?;
        Ok(census.queues.iter().flat_map(|queue| places.iter().map(|place| queue.by_state[*place])).sum())
    }
}

/// Weak, so that a queue that is dropped ends before its parent is cancelled.
async fn stop_with_parent(inner: Weak<Inner>, stop: CancellationToken) {
    stop.cancelled().await;
    if let Some(inner) = inner.upgrade() {
        inner.stop().await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for JobQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobQueue").field("capacity", &self.0.capacity).finish_non_exhaustive()
    }
}

impl fmt::Debug for JobQueueBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("JobQueueBuilder");
        shown.field("workers", &self.workers).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
