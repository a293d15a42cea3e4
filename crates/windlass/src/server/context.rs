//! What a handler knows and may ask for beside its job: the [`JobContext`], and the extractors that build on it.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use super::{
    outcome::{JobError, Result},
    run::{Run, StopCause},
    said::Said,
};
use crate::{
    client::{Client, Enqueue},
    decide::schedule::record::{SCHEDULE_HEADER, TICK_HEADER},
    error::Error,
    job::{DEFAULTS, Fence, JobId, JobSpec, Line, Progress, Timestamp, Verdict},
    store::{CompleteIn, Finish},
};

/// The run that a handler is part of. Cheap to clone.
///
/// ```
/// use windlass::{JobContext, RawJob};
/// async fn export(_: RawJob, ctx: JobContext) -> windlass::Result {
///     println!("attempt {} of {}", ctx.attempt(), ctx.id());
///     for page in 0..100 {
///         if ctx.is_cancelled() {
///             return Err(format!("stopped at page {page}").into());
///         }
///     }
///     ctx.then(RawJob::new("export:mail", "{}"))?; // enqueued if and only if this run ends well
///     Ok(())
/// }
/// # let _: windlass::Router = windlass::Router::new().at("export", export);
/// ```
#[derive(Clone)]
pub struct JobContext(pub(crate) Arc<Run>);

impl JobContext {
    fn spec(&self) -> &JobSpec {
        &self.0.claimed.spec
    }

    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.spec().id
    }

    /// The job's kind.
    pub fn kind(&self) -> &str {
        self.spec().kind.as_str()
    }

    /// The job's queue.
    pub fn queue(&self) -> &str {
        self.spec().queue.as_str()
    }

    /// On whose behalf it runs.
    pub fn tenant(&self) -> Option<&str> {
        self.spec().tenant.as_deref()
    }

    /// The payload as it was enqueued.
    pub fn payload(&self) -> &Bytes {
        &self.spec().payload
    }

    /// The job's headers.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.spec().headers
    }

    /// The job's tags.
    pub fn tags(&self) -> &[String] {
        &self.spec().tags
    }

    /// The number of this run; 1 at first. A run after a crash, snooze or release repeats it.
    pub fn attempt(&self) -> u32 {
        self.0.claimed.attempt
    }

    /// How many attempts may fail before the last.
    pub fn max_retry(&self) -> u32 {
        self.spec().max_retry
    }

    /// Whether the job is dead if this run fails.
    pub fn is_last_attempt(&self) -> bool {
        self.0.claimed.failures >= self.max_retry()
    }

    /// Times a process vanished with this job.
    pub fn crashes(&self) -> u32 {
        self.0.claimed.crashes
    }

    /// Times it was put off.
    pub fn snoozes(&self) -> u32 {
        self.0.claimed.snoozes
    }

    /// The number of the claim: it rises with every run of a job, so a resource that refuses lower ones is safe from a
    /// run that was paused and taken over.
    pub fn fence(&self) -> Fence {
        self.0.claimed.fence
    }

    /// When it was enqueued.
    pub fn created_at(&self) -> Timestamp {
        self.0.claimed.created_at
    }

    /// The instant of the tick of a schedule that has enqueued it, whatever its jitter and however late it runs. None: no
    /// schedule has.
    pub fn scheduled_for(&self) -> Option<Timestamp> {
        self.headers().get(TICK_HEADER)?.parse().ok()
    }

    /// The name of the schedule that has enqueued it.
    pub fn schedule(&self) -> Option<&str> {
        self.headers().get(SCHEDULE_HEADER).map(String::as_str)
    }

    /// The job's deadline.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.spec().deadline
    }

    /// The client that the server works for.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Resolves when the run is told to stop: cancelled, timed out, lease lost, or the server's time is up. A handler
    /// that goes on after the grace (5 s) is dropped at its next await.
    pub async fn cancelled(&self) -> StopCause {
        self.cancellation_token().cancelled().await;
        self.stop_cause().unwrap_or(StopCause::Shutdown)
    }

    /// Whether the run is told to stop: for loops that do not await.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_stopping()
    }

    /// Why the run is told to stop, if it is.
    pub fn stop_cause(&self) -> Option<StopCause> {
        self.0.stop_cause()
    }

    /// A token that is cancelled when the run is told to stop; for passing on.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.0.token()
    }

    /// Enqueues a job in the same step as this run's finish, if it ends well: both or neither. Say it before
    /// [`complete_in`](Self::complete_in).
    ///
    /// # Errors
    /// When the job has a value that it may not have.
    pub fn then(&self, job: impl Enqueue) -> Result<JobId, Error> {
        // Fenced with the finish: it comes in once, however often that is sent.
        let new = self.0.client.resolve(job)?;
        let id = new.spec.id.clone();
        self.0.left(|left| left.then.push(new));
        Ok(id)
    }

    /// Sets the job's result, as JSON. What the handler returns goes before it.
    ///
    /// # Errors
    /// When the value does not serialize.
    pub fn set_result(&self, result: &impl Serialize) -> Result<(), serde_json::Error> {
        let bytes = serde_json::to_vec(result)?;
        self.0.left(|left| left.result = Some(bytes.into()));
        Ok(())
    }

    /// Says how far the run is, from 0 to 1, and what it does now (at most 1 KiB). Costs nothing but memory: it goes to
    /// the store within a tenth of a second, with what else there is, or with the finish; of several the latest counts.
    /// Seen in the job's record ([`JobRecord::progress`](crate::JobRecord)) and by [`Client::watch`].
    pub fn progress(&self, fraction: f64, message: impl Into<String>) {
        let progress = Progress::new(fraction, message);
        self.say(|said| said.progress(progress));
    }

    /// Adds a line to the job's log (at most 1 KiB; the newest hundred of a job are kept with it). Goes the way of
    /// [`progress`](Self::progress). For what the job's owner wants to see; what operators of the server want to see
    /// belongs into the server's own log.
    pub fn log(&self, line: impl Into<String>) {
        let line = Line::new(self.0.client.env().wall(), line);
        self.say(|said| said.add(|news| news.say(line)));
    }

    fn say(&self, say: impl FnOnce(&mut Said) -> bool) {
        if self.0.said(say) {
            self.0.desk.push(self.0.clone());
        }
    }

    /// Makes durable from where the job could be taken up again, as JSON: the next run finds it as its
    /// [`last_checkpoint`](Self::last_checkpoint), after a crash, an error, a snooze or a release, and after a redrive
    /// of the dead job. An edited payload takes it away. Waits for the store, and tries again while it is away.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a value that does not serialize or has more than 256 KiB; [`Error::Stale`] when the
    /// lease is lost: another run of the job counts, so stop here; [`Error::Store`] when the store refuses it for good.
    pub async fn checkpoint(&self, value: &impl Serialize) -> Result<(), Error> {
        self.checkpoint_with(checkpoint_bytes(value)?).await
    }

    pub(crate) async fn checkpoint_with(&self, bytes: Bytes) -> Result<(), Error> {
        let stale = || Error::Stale(self.id().clone());
        let noted = self.0.said(|said| said.checkpoint(bytes)).ok_or_else(stale)?;
        if noted.tell {
            self.0.desk.push(self.0.clone());
        }
        self.0.desk.hurry();
        noted.answered.await.unwrap_or_else(|_| Err(stale()))
    }

    /// Notes a checkpoint without waiting for the store.
    pub(crate) fn note(&self, bytes: Bytes) {
        self.say(|said| said.note(bytes));
    }

    /// The newest checkpoint of this job, by this run or an earlier one; none: begin at the beginning.
    ///
    /// # Errors
    /// When it is not what `T` reads. Returned from the handler, that is a failed attempt: an older server may have
    /// met the checkpoint of a newer one, so the next attempt may do better.
    pub fn last_checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let own = self.0.said(|said| said.latest_checkpoint().cloned());
        let bytes = own.or_else(|| self.0.claimed.checkpoint.clone());
        let read = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        read.map_err(|error| JobError::unreadable_checkpoint(&error))
    }

    /// Gives a value to the extractors of this run; for middleware.
    pub fn insert<T: Clone + Send + Sync + 'static>(&self, value: T) {
        self.0.left(|left| left.own.get_or_insert_default().insert(value));
    }

    /// A value of this run, or of the router.
    pub fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let own = self.0.left(|left| left.own.as_ref().and_then(|own| own.get()));
        own.or_else(|| self.0.shared.get())
    }

    /// Completes the job in the handler's own transaction and commits it: its effects and the fenced finish together,
    /// or neither. Return what it answers: `Ok(ctx.complete_in(tx)?)` with rusqlite, `Ok(ctx.complete_in(tx).await?)` with
    /// tokio-postgres and sqlx.
    ///
    /// # Errors
    /// (In the driver's answer.) [`Error::Stale`] when the lease is lost: the transaction is rolled back.
    pub fn complete_in<T: CompleteIn>(&self, tx: T) -> T::Answer {
        let run = self.0.clone();
        let news = run.unanswered();
        let finish = self.0.left(|left| Finish {
            lease: run.claimed.lease(),
            verdict: Verdict::Complete,
            error: None,
            result: left.result.take(),
            then: std::mem::take(&mut left.then),
            ran: run.client.env().monotonic().since(run.started_at()),
            news,
        });
        tx.complete_in(&**self.0.client.store(), finish, Box::new(move || run.set_committed()))
    }
}

impl std::fmt::Debug for JobContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JobContext({} {} attempt {})", self.kind(), self.id(), self.attempt())
    }
}

/// A checkpoint as a store keeps it, if it may be kept.
pub(crate) fn checkpoint_bytes(value: &impl Serialize) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Checkpoint(error.to_string()))?;
    let (size, limit) = (bytes.len(), DEFAULTS.checkpoint_bytes);
    if size > limit {
        return Err(Error::Checkpoint(format!(
            "it has {size} bytes and at most {limit} are kept; keep the data elsewhere and note where it is"
        )));
    }
    Ok(bytes.into())
}

/// Something a handler can ask for after its job: [`State`], [`JobContext`], [`Extension`], or your own.
///
/// ```
/// use windlass::{FromJob, JobContext, RawJob, Router};
/// /// The user on whose behalf a job runs, out of a header.
/// struct User(String);
/// impl<S: Sync> FromJob<S> for User {
///     async fn from_job(ctx: &JobContext, _: &S) -> windlass::Result<Self> {
///         Ok(User(ctx.headers().get("user").ok_or("the job has no user")?.clone()))
///     }
/// }
/// async fn report(_: RawJob, User(name): User) -> windlass::Result {
///     println!("a report for {name}");
///     Ok(())
/// }
/// let router: Router = Router::new().at("report", report);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler argument for a router with state `{S}`",
    note = "the first argument is the job; the others are `State<T>`, `JobContext`, `Extension<T>` or your own `FromJob`",
    note = "`State<T>` needs the router's state to be `T`, or `FromRef`"
)]
pub trait FromJob<S>: Sized {
    /// Gets it.
    fn from_job(ctx: &JobContext, state: &S) -> impl Future<Output = Result<Self>> + Send;
}

/// The router's state, or a part of it.
///
/// ```
/// use windlass::{RawJob, Router, State};
/// async fn count(_: RawJob, State(limit): State<u32>) -> windlass::Result {
///     println!("up to {limit}");
///     Ok(())
/// }
/// let router: Router = Router::new().at("count", count).with_state(10);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct State<T>(pub T);

/// How a part is taken out of a router's state. A state is a part of itself.
///
/// ```
/// use windlass::{FromRef, RawJob, Router, State};
/// #[derive(Clone)]
/// struct App {
///     greeting: String,
/// }
/// struct Greeting(String);
/// impl FromRef<App> for Greeting {
///     fn from_ref(app: &App) -> Self {
///         Greeting(app.greeting.clone())
///     }
/// }
/// async fn greet(_: RawJob, State(Greeting(text)): State<Greeting>) -> windlass::Result {
///     println!("{text}");
///     Ok(())
/// }
/// let router: Router = Router::new().at("greet", greet).with_state(App { greeting: "hello".into() });
/// ```
#[diagnostic::on_unimplemented(
    message = "a router's state `{T}` has no part `{Self}`",
    note = "implement `FromRef<{T}>` for `{Self}`, or give the router this state with `with_state`"
)]
pub trait FromRef<T> {
    /// The part.
    fn from_ref(whole: &T) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(whole: &T) -> Self {
        whole.clone()
    }
}

impl<S: Sync, T: FromRef<S>> FromJob<S> for State<T> {
    async fn from_job(_: &JobContext, state: &S) -> Result<Self> {
        Ok(State(T::from_ref(state)))
    }
}

impl<S: Sync> FromJob<S> for JobContext {
    async fn from_job(ctx: &JobContext, _: &S) -> Result<Self> {
        Ok(ctx.clone())
    }
}

/// A value that the router or a middleware has given under its type.
///
/// ```
/// use windlass::{Extension, RawJob, Router};
/// #[derive(Clone)]
/// struct Version(u32);
/// async fn show(_: RawJob, Extension(Version(number)): Extension<Version>) -> windlass::Result {
///     println!("version {number}");
///     Ok(())
/// }
/// let router: Router = Router::new().at("show", show).extension(Version(7));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Extension<T>(pub T);

impl<S: Sync, T: Clone + Send + Sync + 'static> FromJob<S> for Extension<T> {
    async fn from_job(ctx: &JobContext, _: &S) -> Result<Self> {
        let found = ctx.extension().map(Extension);
        let name = std::any::type_name::<T>();
        found.ok_or_else(|| JobError::from(format!("no extension `{name}`; add it with Router::extension")))
    }
}
