//! Waiting for jobs: for their end, for what they say on the way, for their results.
//! A waiter looks at the job when the store hints at a change, and now and then without a hint.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use super::{Client, Enqueue, Job, With};
use crate::{
    error::{Error, FailedJob},
    job::{DEFAULTS, JobId, JobRecord, LogLine, Monotonic, Progress, State},
    store::WakeUps,
};

/// A job whose handler returns something, for [`Client::call`]. The derive writes it: `#[job(returns = Size)]`.
pub trait Returns {
    /// What the handler returns, in a [`Json`](crate::Json).
    type Output: DeserializeOwned;
}

impl<J: Job + Returns> Returns for With<J> {
    type Output = J::Output;
}

impl Client {
    /// Waits until the job has ended and answers its record: completed, dead or cancelled. Looks at once, at the hints
    /// of the store (the longer it has waited, the less often: at most every 100 ms), and without one at growing
    /// intervals of up to half a second.
    ///
    /// # Errors
    /// [`Error::Gone`] when it was removed meanwhile: give jobs that somebody waits for a retention, or enqueue them
    /// with [`enqueue_and_wait`](Self::enqueue_and_wait). [`Error::Store`] when the store is away.
    pub async fn wait(&self, id: &JobId) -> Result<JobRecord, Error> {
        let mut looks = Looks::new(self, id);
        loop {
            let job = looks.next().await?;
            if job.state.is_terminal() {
                return Ok(job);
            }
        }
    }

    /// Enqueues a job that is kept for at least a minute after its end, waits, and answers its record.
    ///
    /// If it is a duplicate, this waits for the job that is there, with the retention that it has.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue) and [`wait`](Self::wait).
    pub async fn enqueue_and_wait(&self, job: impl Enqueue) -> Result<JobRecord, Error> {
        let mut new = self.resolve(job)?;
        let spec = Arc::make_mut(&mut new.spec);
        spec.retention = spec.retention.max(DEFAULTS.waited_retention);
        let answers = self.send(vec![new]).await?;
        let id = answers.first().map(|answer| answer.id().clone());
        self.wait(&id.ok_or_else(super::no_answer)?).await
    }

    /// Enqueues a job, waits, and answers what its handler returned: as [`enqueue_and_wait`](Self::enqueue_and_wait)
    /// and [`wait_result`](Self::wait_result).
    ///
    /// ```
    /// # #[cfg(feature = "macros")] {
    /// use windlass::{Client, Job, Json};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize, Job)]
    /// #[job(kind = "image:size", returns = Size)]
    /// struct Measure { path: String }
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Size { width: u32, height: u32 }
    ///
    /// async fn measure(_: Measure) -> windlass::Result<Json<Size>> {
    ///     Ok(Json(Size { width: 640, height: 480 }))
    /// }
    ///
    /// async fn width(client: &Client) -> Result<u32, windlass::Error> {
    ///     let size = client.call(Measure { path: "a.png".into() }).await?;
    ///     Ok(size.width)
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As both.
    pub async fn call<J: Enqueue + Returns>(&self, job: J) -> Result<J::Output, Error> {
        output(&self.enqueue_and_wait(job).await?)
    }

    /// Waits for the job and reads what its handler returned.
    ///
    /// # Errors
    /// As [`wait`](Self::wait); [`Error::Failed`], with reason, class and message, for a job that is dead or cancelled;
    /// [`Error::Result`] when the result is not what `T` reads.
    pub async fn wait_result<T: DeserializeOwned>(&self, id: &JobId) -> Result<T, Error> {
        output(&self.wait(id).await?)
    }

    /// What happens to a job, as it happens: its states, its progress, the lines of its log, and at last its record.
    ///
    /// ```
    /// use windlass::{Client, JobId, Update};
    /// async fn follow(client: &Client, id: &JobId) -> Result<(), windlass::Error> {
    ///     let mut updates = client.watch(id);
    ///     while let Some(update) = updates.next().await? {
    ///         match update {
    ///             Update::Progress(now) => println!("{:3.0} % {}", now.fraction * 100.0, now.message),
    ///             Update::Line(line) => println!("{}", line.line),
    ///             Update::Ended(job) => println!("{}", job.state),
    ///             _ => {}
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn watch(&self, id: &JobId) -> Updates {
        Updates { looks: Looks::new(self, id), news: VecDeque::new(), state: None, progress: None, line: 0 }
    }
}

/// One thing that happened to a job that is watched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// It is in this state now. The first update is the state in which it was found; a short one in between may be
    /// missed.
    State(State),
    /// It says that it is this far. Of several at once only the latest.
    Progress(Progress),
    /// A line was added to its log. A gap in their numbers: they came too fast, and the oldest are gone.
    Line(LogLine),
    /// It is completed, dead or cancelled. The last update.
    Ended(Box<JobRecord>),
}

/// The updates of one job; see [`Client::watch`].
pub struct Updates {
    looks: Looks,
    news: VecDeque<Update>,
    state: Option<State>,
    progress: Option<Progress>,
    /// The number of the last line.
    line: u64,
}

impl Updates {
    /// Waits for the next update. None: the job has ended, and all was told. May be dropped at any time without
    /// missing one.
    ///
    /// # Errors
    /// [`Error::Gone`] when it was removed, [`Error::NotFound`] when it never was there, [`Error::Store`] when the
    /// store is away: then it can be asked again.
    pub async fn next(&mut self) -> Result<Option<Update>, Error> {
        loop {
            if let Some(update) = self.news.pop_front() {
                return Ok(Some(update));
            }
            if self.state.is_some_and(State::is_terminal) {
                return Ok(None);
            }
            let job = self.looks.next().await?;
            self.compare(job);
        }
    }

    /// Collects what is new.
    fn compare(&mut self, job: JobRecord) {
        let changed = self.state.replace(job.state) != Some(job.state);
        if changed && !job.state.is_terminal() {
            self.news.push_back(Update::State(job.state));
        }
        let last = self.line;
        self.news.extend(job.log.iter().filter(|line| line.number > last).cloned().map(Update::Line));
        self.line = job.log.last().map_or(last, |line| line.number);
        if self.progress != job.progress {
            self.progress.clone_from(&job.progress);
            self.news.extend(job.progress.clone().map(Update::Progress));
        }
        if job.state.is_terminal() {
            self.news.push_back(Update::Ended(Box::new(job)));
        }
    }
}

impl std::fmt::Debug for Updates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Updates({}, {:?})", self.looks.id, self.state)
    }
}

/// What the handler of a completed job returned.
fn output<T: DeserializeOwned>(job: &JobRecord) -> Result<T, Error> {
    if job.state != State::Completed {
        let error = job.errors.last();
        return Err(Error::Failed(Box::new(FailedJob {
            id: job.id().clone(),
            state: job.state,
            reason: job.reason.clone(),
            class: error.map(|error| error.class),
            message: error.map(|error| error.message.clone()),
        })));
    }
    let bytes = job.result.as_deref().unwrap_or(b"null");
    serde_json::from_slice(bytes).map_err(|error| {
        // Without the error's own text, which may quote the result.
        let (wanted, line, column) = (std::any::type_name::<T>(), error.line(), error.column());
        let found = if job.result.is_some() { "its result" } else { "its handler returned nothing, which" };
        let problem = format!("{found} does not read as `{wanted}` (line {line}, column {column})");
        Error::Result { id: job.id().clone(), problem }
    })
}

/// The shortest time between two looks at first, and in the end.
const GAP: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];
/// The time until a look without a hint at first, and in the end.
const PAUSE: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

/// Looks at a job again and again. A busy store hints all the time, and a thousand may wait: so the gap between two
/// looks grows with the time that was waited, by a sixteenth with each, which the waiter hardly notices.
struct Looks {
    client: Client,
    id: JobId,
    wakeups: WakeUps,
    looked_at: Option<Monotonic>,
    gap: Duration,
    pause: Duration,
}

impl Looks {
    fn new(client: &Client, id: &JobId) -> Self {
        let wakeups = client.store().wakeups();
        Self { client: client.clone(), id: id.clone(), wakeups, looked_at: None, gap: GAP[0], pause: PAUSE[0] }
    }

    /// The job: the first time at once, then when it may have changed.
    async fn next(&mut self) -> Result<JobRecord, Error> {
        if let Some(at) = self.looked_at {
            self.wait_for_hint(at).await;
        }
        // Note the counter before we look, or a change in between would wait a full pause.
        self.wakeups.mark_seen();
        let found = self.client.get(&self.id).await?;
        let seen = self.looked_at.replace(self.client.env().monotonic()).is_some();
        match found {
            Some(job) => Ok(job),
            None if seen => Err(Error::Gone(self.id.clone())),
            None => Err(self.client.missing(&self.id)),
        }
    }

    async fn wait_for_hint(&mut self, looked_at: Monotonic) {
        let env = self.client.env().clone();
        tokio::select! {
            biased;
            () = self.wakeups.changed() => {
                let left = self.gap.saturating_sub(env.monotonic().since(looked_at));
                if !left.is_zero() {
                    env.spare(left).await;
                }
                self.gap = (self.gap + self.gap / 16).min(GAP[1]);
            }
            () = env.sleep(self.pause) => self.pause = (self.pause * 2).min(PAUSE[1]),
        }
    }
}
