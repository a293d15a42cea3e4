//! The client: enqueues typed and raw jobs, waits for them, and looks at and operates what is in a store.
//! Cheap to clone; every clone talks to the same store.

mod groups;
mod stream;
mod waiting;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

pub use self::waiting::{Returns, Update, Updates};
use crate::{
    codec::{self, CODEC_HEADER, Coding},
    decide::operate::Action,
    env::{Apart, Env},
    error::Error,
    job::{
        Cursor, DEFAULTS, InvalidJob, JobFilter, JobId, JobOptions, JobPage, JobRecord, Kind, NewJob, QueueName, Start,
        State, Timestamp,
    },
    store::{
        self, Backend, Census, Create, Dimension, EnqueueIn, Enqueued, Operated, Prune, Pruned, ServerInfo, Stats,
        StoreError,
    },
};

/// A typed job: its kind, its payload (whatever serializes) and its options. Usually derived.
///
/// ```
/// # #[cfg(feature = "macros")] {
/// #[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
/// #[job(kind = "email:send", queue = "critical", max_retry = 5)]
/// struct SendEmail {
///     to: String,
/// }
/// # }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name that chooses the handler.
    const KIND: &'static str;

    /// The options of this very job; they may use its payload. Whatever is left out comes from the client's defaults.
    fn options(&self) -> JobOptions {
        JobOptions::new()
    }

    /// How its payload is written, and read again. Default: as JSON.
    fn coding() -> Coding<Self>
    where
        Self: Sized,
    {
        Coding::of::<codec::Json>()
    }

    /// The job with options of this call, which go before its own.
    fn with(self, options: impl FnOnce(JobOptions) -> JobOptions) -> With<Self>
    where
        Self: Sized,
    {
        With { job: self, options: options(JobOptions::new()) }
    }
}

/// A job and the options of one call; see [`Job::with`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Remind;
/// # impl windlass::Job for Remind {
/// #     const KIND: &'static str = "remind";
/// # }
/// use windlass::{Client, Job};
/// let client = Client::open("memory:").await?;
/// client.enqueue(Remind.with(|o| o.process_in(Duration::from_secs(3600)).tag("night"))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct With<J> {
    job: J,
    options: JobOptions,
}

/// A job whose kind is known only at run time: bytes under a name.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use windlass::{Client, RawJob};
/// let client = Client::open("memory:").await?;
/// client.enqueue(RawJob::new("image:resize", r#"{"file":"cat.png"}"#).with(|o| o.queue("low"))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RawJob {
    /// The name that chooses the handler.
    pub kind: String,
    /// The payload, as it is.
    pub payload: Bytes,
    /// Its options.
    pub options: JobOptions,
}

impl RawJob {
    /// A job of this kind with this payload.
    pub fn new(kind: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { kind: kind.into(), payload: payload.into(), options: JobOptions::new() }
    }

    /// The job with other options.
    #[must_use]
    pub fn with(mut self, options: impl FnOnce(JobOptions) -> JobOptions) -> Self {
        self.options = options(self.options);
        self
    }
}

/// What can be enqueued: a [`Job`], a job [`with`](Job::with) options, a [`RawJob`].
pub trait Enqueue: Send {
    /// Kind, payload and options.
    ///
    /// # Errors
    /// When the kind is no name or the payload does not serialize.
    fn into_parts(self) -> Result<(Kind, Bytes, JobOptions), InvalidJob>;
}

impl<J: Job> Enqueue for J {
    fn into_parts(self) -> Result<(Kind, Bytes, JobOptions), InvalidJob> {
        let (coding, mut options) = (J::coding(), self.options());
        let payload = coding.write(&self).map_err(|error| InvalidJob::Payload(error.to_string()))?;
        if let Some(name) = coding.header() {
            options = options.header(CODEC_HEADER, name);
        }
        Ok((Kind::new(J::KIND)?, payload.into(), options))
    }
}

impl<J: Job> Enqueue for With<J> {
    fn into_parts(self) -> Result<(Kind, Bytes, JobOptions), InvalidJob> {
        let (kind, payload, options) = self.job.into_parts()?;
        Ok((kind, payload, self.options.or(options)))
    }
}

impl Enqueue for RawJob {
    fn into_parts(self) -> Result<(Kind, Bytes, JobOptions), InvalidJob> {
        Ok((Kind::new(self.kind)?, self.payload, self.options))
    }
}

/// Enqueues, waits, looks and operates. Clone it freely.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), windlass::Error> {
/// use windlass::{Client, RawJob};
/// let client = Client::open("memory:").await?;
/// let queued = client.enqueue(RawJob::new("email:send", r#"{"to":"a@example.com"}"#)).await?;
/// assert!(queued.is_new());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    store: Arc<dyn Backend>,
    env: Env,
    apart: Apart,
    defaults: JobOptions,
    queue_defaults: HashMap<String, JobOptions>,
    max_payload_bytes: usize,
}

/// Sets up a [`Client`]; see [`Client::builder`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use windlass::{Client, JobOptions};
/// let client = Client::builder()
///     .defaults(JobOptions::new().retention(Duration::from_secs(3600)))
///     .queue_defaults("low", JobOptions::new().max_retry(3))
///     .open("memory:")
///     .await?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    env: Env,
    create: Create,
    defaults: JobOptions,
    queue_defaults: HashMap<String, JobOptions>,
    max_payload_bytes: usize,
}

impl ClientBuilder {
    /// Options for every job that leaves them out.
    #[must_use]
    pub fn defaults(mut self, options: JobOptions) -> Self {
        self.defaults = options;
        self
    }

    /// Options for the jobs of one queue that leave them out; they go before [`defaults`](Self::defaults).
    #[must_use]
    pub fn queue_defaults(mut self, queue: impl Into<String>, options: JobOptions) -> Self {
        self.queue_defaults.insert(queue.into(), options);
        self
    }

    /// The largest payload in bytes. Default: 1 MiB.
    #[must_use]
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.max_payload_bytes = bytes;
        self
    }

    /// Whether a store that is not there is made. Default: it is.
    #[must_use]
    pub fn create(mut self, create: Create) -> Self {
        self.create = create;
        self
    }

    /// Other clocks, for tests.
    #[must_use]
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Opens the store that the URL names.
    ///
    /// # Errors
    /// As [`store::open`].
    pub async fn open(self, url: &str) -> Result<Client, Error> {
        let store = store::open(url, self.create, &self.env).await?;
        Ok(self.on(store))
    }

    /// A client of a store that is open already.
    pub fn on(self, store: Arc<dyn Backend>) -> Client {
        Client(Arc::new(Inner {
            store,
            apart: Apart::new("locks", &self.env),
            env: self.env,
            defaults: self.defaults,
            queue_defaults: self.queue_defaults,
            max_payload_bytes: self.max_payload_bytes,
        }))
    }
}

/// How many jobs of a bulk enqueue travel together.
const BULK: usize = 1000;
/// How often an enqueue is tried when the store is away, each time with the same ids.
const ENQUEUE_TRIES: u32 = 4;
/// No new try after this long.
const ENQUEUE_PATIENCE: Duration = Duration::from_secs(2);

impl Client {
    /// Opens the store that the URL names: `memory:`, `sqlite:path` (feature `sqlite`), `redis://host:port/db` (feature
    /// `redis`) or `postgres://user@host/database` (feature `postgres`).
    ///
    /// # Errors
    /// As [`store::open`].
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::builder().open(url).await
    }

    /// A client with defaults of its own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            env: Env::system(),
            create: Create::IfMissing,
            defaults: JobOptions::new(),
            queue_defaults: HashMap::new(),
            max_payload_bytes: DEFAULTS.max_payload_bytes,
        }
    }

    /// The store beneath.
    pub fn store(&self) -> &Arc<dyn Backend> {
        &self.0.store
    }

    /// Where what this client holds is kept.
    pub(crate) fn apart(&self) -> &Apart {
        &self.0.apart
    }

    /// The clocks that the client goes by.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// Enqueues one job. When it answers `Ok`, the job is durable at the store's level.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value the job may not have; [`Error::Store`] when the store cannot take it. A store
    /// that is away is tried again for about a second with the same id, so nothing is doubled; one that itself waited
    /// two seconds or more for its turn (a write lock that somebody holds) is not asked again.
    pub async fn enqueue(&self, job: impl Enqueue) -> Result<Enqueued, Error> {
        self.enqueue_prepared(self.resolve(job)?).await
    }

    pub(crate) async fn enqueue_prepared(&self, job: NewJob) -> Result<Enqueued, Error> {
        let mut answers = self.send(vec![job]).await?;
        answers.pop().ok_or_else(no_answer)
    }

    /// Enqueues many jobs, a thousand at a time; each thousand is all or nothing (on SQL stores). Answers in order.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue). A refused value is found before anything is stored; when the store fails,
    /// earlier thousands stay.
    pub async fn enqueue_all<J: Enqueue>(&self, jobs: impl IntoIterator<Item = J>) -> Result<Vec<Enqueued>, Error> {
        let mut jobs = jobs.into_iter().map(|job| self.resolve(job)).collect::<Result<Vec<_>, _>>()?;
        let mut answers = Vec::with_capacity(jobs.len());
        while !jobs.is_empty() {
            let rest = jobs.split_off(jobs.len().min(BULK));
            answers.extend(self.send(jobs).await?);
            jobs = rest;
        }
        Ok(answers)
    }

    /// Enqueues one job in the caller's transaction: it exists if and only if that commits.
    ///
    /// With rusqlite the answer is a `Result<Enqueued, Error>`: `client.enqueue_in(&mut tx, job)?`; with tokio-postgres and sqlx
    /// a future of it: `client.enqueue_in(&mut tx, job).await?`. `store::EnqueueIn` has the list of drivers.
    ///
    /// ```
    /// # #[cfg(feature = "sqlx-0_9")]
    /// # mod example {
    /// # use sqlx_0_9 as sqlx;
    /// # use windlass::{Client, RawJob};
    /// async fn sign_up(client: &Client, pool: &sqlx::PgPool) -> anyhow::Result<()> {
    ///     let mut tx = pool.begin().await?;
    ///     sqlx::query("INSERT INTO users (name) VALUES ('ada')").execute(&mut *tx).await?;
    ///     client.enqueue_in(&mut tx, RawJob::new("mail:welcome", r#""ada""#)).await?;
    ///     tx.commit().await?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// (In the driver's answer.) `Unsupported` when the client's store is of another kind than the transaction, `Invalid` when it
    /// is in another database: both leave the transaction as it was. Another error of a Postgres server has ended it.
    pub fn enqueue_in<'t, T: EnqueueIn>(&self, tx: &'t mut T, job: impl Enqueue) -> T::Answer<'t> {
        tx.enqueue_in(&*self.0.store, self.resolve(job).map_err(Error::from))
    }

    /// The job with every default filled in and every value checked, on its way into a store.
    ///
    /// # Errors
    /// [`InvalidJob`] names the value.
    pub fn prepare(&self, job: impl Enqueue) -> Result<NewJob, InvalidJob> {
        // Whoever has it may send it more than once.
        Ok(NewJob { fresh: false, ..self.resolve(job)? })
    }

    /// The same for a job that is sent at once, and by us.
    pub(crate) fn resolve(&self, job: impl Enqueue) -> Result<NewJob, InvalidJob> {
        let (kind, payload, mut options) = job.into_parts()?;
        let inner = &*self.0;
        if !inner.queue_defaults.is_empty() {
            let queue = options.queue.as_deref().or(inner.defaults.queue.as_deref()).unwrap_or(DEFAULTS.queue);
            if let Some(of_queue) = inner.queue_defaults.get(queue) {
                options = options.or(of_queue.clone());
            }
        }
        options.or(inner.defaults.clone()).resolve(&kind, payload, || inner.env.new_id(), inner.max_payload_bytes)
    }

    async fn send(&self, mut jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        let mut wait = Duration::from_millis(100);
        let mut tries = 1;
        let began = self.0.env.monotonic();
        loop {
            match self.0.store.enqueue(jobs.clone()).await {
                // A store that has taken its time to say no has tried for long enough itself.
                Err(error)
                    if error.is_retryable()
                        && tries < ENQUEUE_TRIES
                        && self.0.env.monotonic().since(began) < ENQUEUE_PATIENCE =>
                {
                    self.0.env.sleep(self.0.env.jittered(wait)).await;
                    wait *= 2;
                    tries += 1;
                    // It may have them already, and may even be done with them.
                    jobs.iter_mut().for_each(|job| job.fresh = false);
                }
                Err(error) => return Err(error.into()),
                Ok(answers) if tries == 1 => return Ok(answers),
                Ok(answers) => return Ok(answers.into_iter().zip(&jobs).map(own_is_new).collect()),
            }
        }
    }

    /// One job; none if there is no such job, or no longer.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn get(&self, id: &JobId) -> Result<Option<JobRecord>, Error> {
        Ok(self.0.store.get(id).await?)
    }

    /// One job.
    ///
    /// # Errors
    /// [`Error::Gone`] for an id that a client made (a UUIDv7) and the store no longer holds, [`Error::NotFound`] for
    /// another one.
    pub async fn inspect(&self, id: &JobId) -> Result<JobRecord, Error> {
        self.get(id).await?.ok_or_else(|| self.missing(id))
    }

    fn missing(&self, id: &JobId) -> Error {
        match id.as_uuid() {
            Some(uuid) if uuid.get_version_num() == 7 => Error::Gone(id.clone()),
            _ => Error::NotFound(id.clone()),
        }
    }

    /// A page of at most `limit` (and at most 1,000) jobs, oldest first; go on with the page's `next`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list(&self, filter: &JobFilter, after: Option<Cursor>, limit: u32) -> Result<JobPage, Error> {
        Ok(self.0.store.list(filter, after, limit).await?)
    }

    /// All counts, by queue and state.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn census(&self) -> Result<Census, Error> {
        Ok(self.0.store.census().await?)
    }

    /// The numbers: counts now, and what has ended within `since` (by the minute; none: all that is kept, 35 days).
    ///
    /// # Errors
    /// When the store is away.
    pub async fn stats(&self, since: Option<Duration>, by: Option<Dimension>) -> Result<Stats, Error> {
        let census = self.0.store.census().await?;
        let from = since.map_or(Timestamp::default(), |since| census.now.before(since));
        let tallies = self.0.store.tallies(from).await?;
        Ok(Stats::new(&census, &tallies, self.servers().await?, by))
    }

    /// The servers that have given a sign of life within 30 seconds.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn servers(&self) -> Result<Vec<ServerInfo>, Error> {
        Ok(self.0.store.servers().await?)
    }

    /// Ends a job. A waiting one is cancelled at once; a running one is told to stop within a second, and this
    /// answers `Running`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Gone`], or [`Error::Conflict`] when it has ended already.
    pub async fn cancel(&self, id: &JobId, reason: impl Into<Arc<str>>) -> Result<State, Error> {
        self.operate(id, Action::Cancel { reason: reason.into() }).await
    }

    /// Sends a dead or cancelled job back in line, with all its attempts.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is in another state, or its unique key is held by another job.
    pub async fn redrive(&self, id: &JobId) -> Result<State, Error> {
        self.operate(id, Action::Redrive).await
    }

    /// Makes a waiting job dead.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it runs or has ended.
    pub async fn bury(&self, id: &JobId) -> Result<State, Error> {
        self.operate(id, Action::Bury).await
    }

    /// Removes a job that does not run.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it runs: cancel it first.
    pub async fn delete(&self, id: &JobId) -> Result<(), Error> {
        self.operate(id, Action::Delete).await.map(drop)
    }

    /// Puts a scheduled or retrying job in line now, and so one that waits in a group: it leaves it and runs alone.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is in another state.
    pub async fn run_now(&self, id: &JobId) -> Result<State, Error> {
        self.operate(id, Action::RunNow).await
    }

    /// Replaces the payload of a job that is neither running nor completed.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is; [`Error::Invalid`] when the payload is over the limit.
    pub async fn edit(&self, id: &JobId, payload: impl Into<Bytes>) -> Result<State, Error> {
        let (payload, limit) = (payload.into(), self.0.max_payload_bytes);
        if payload.len() > limit {
            return Err(InvalidJob::PayloadTooLarge { bytes: payload.len(), limit }.into());
        }
        self.operate(id, Action::Edit { payload }).await
    }

    /// Gives a waiting job another time.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it runs or has ended.
    pub async fn reschedule(&self, id: &JobId, start: Start) -> Result<State, Error> {
        self.operate(id, Action::Reschedule { start }).await
    }

    async fn operate(&self, id: &JobId, action: Action) -> Result<State, Error> {
        match self.0.store.operate(id, &action).await? {
            Operated::Done(state) => Ok(state),
            Operated::Removed => Ok(State::Cancelled),
            Operated::NotFound => Err(self.missing(id)),
            Operated::Conflict { state, holder } => Err(Error::Conflict { id: id.clone(), state, holder }),
        }
    }

    /// Stops a queue from giving jobs; what runs goes on. False: there is no such queue.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn pause(&self, queue: &QueueName) -> Result<bool, Error> {
        Ok(self.0.store.pause(queue, true).await?)
    }

    /// Lets a paused queue give jobs again. False: there is no such queue.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn resume(&self, queue: &QueueName) -> Result<bool, Error> {
        Ok(self.0.store.pause(queue, false).await?)
    }

    /// Removes what retention lets go, or what ended long enough ago, in steps of at most 1,000 jobs.
    ///
    /// # Errors
    /// When the store is away; what was removed until then stays removed.
    pub async fn prune(&self, what: Prune) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            let Pruned { removed: step, more } = self.0.store.prune(&what, 1000).await?;
            removed += step;
            if !more {
                return Ok(removed);
            }
        }
    }
}

fn no_answer() -> Error {
    StoreError::Corrupt("the store answered no job".into()).into()
}

/// A repeat may find its own job: that is a success whose first answer was lost.
fn own_is_new((answer, job): (Enqueued, &NewJob)) -> Enqueued {
    match answer {
        Enqueued::Duplicate(found, _) if found == job.spec.id => Enqueued::New(found),
        other => other,
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.0.store.place())
    }
}
