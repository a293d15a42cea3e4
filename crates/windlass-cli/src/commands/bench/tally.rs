//! The jobs of a measurement and what becomes of each: their ids carry their number, so that a handler can tell which
//! one it runs without reading the payload.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Notify;
use uuid::Uuid;
use windlass::{
    Client, Env, Event, EventKind, JobContext, JobId, JobState, Monotonic, RawJob, Router, RunningServer, Server,
};

use super::Delivery;
use crate::handlers::builtin::Unread;

/// Where the jobs of measurements stand.
pub(crate) const QUEUE: &str = "bench";
pub(crate) const KIND: &str = "bench:noop";

/// The low bits of an id that are the job's number.
const NUMBER_BITS: u32 = 40;

/// The measured jobs. Others under the same run (warm-up, backlog) have higher numbers and are not counted.
pub(crate) struct Tally {
    env: Env,
    run: u128,
    jobs: u64,
    retention: Duration,
    /// How often each has run.
    runs: Vec<AtomicU8>,
    /// When each began, if anybody wants to know, from number `timed_from` on.
    began: Vec<AtomicI64>,
    timed_from: u64,
    finished: AtomicU64,
    twice: AtomicU64,
    last_finish: AtomicI64,
    all_finished: Notify,
    any: AtomicBool,
}

impl Tally {
    pub(crate) fn new(client: &Client, jobs: u64, retention: Duration, timed: bool) -> Arc<Self> {
        Self::timed(client, jobs, retention, 0, if timed { jobs } else { 0 })
    }

    /// Of the measured jobs it is only counted what becomes of them; of up to so many that have the numbers behind them it
    /// is noted when they begin.
    pub(crate) fn with_fresh(client: &Client, jobs: u64, fresh: u64, retention: Duration) -> Arc<Self> {
        Self::timed(client, jobs, retention, jobs, fresh)
    }

    fn timed(client: &Client, jobs: u64, retention: Duration, timed_from: u64, timed: u64) -> Arc<Self> {
        let env = client.env().clone();
        let id = env.new_id().as_uuid().map_or(0, |uuid| uuid.as_u128());
        Arc::new(Self {
            run: id >> NUMBER_BITS,
            jobs,
            retention,
            runs: (0..jobs).map(|_| AtomicU8::new(0)).collect(),
            began: (0..timed).map(|_| AtomicI64::new(0)).collect(),
            timed_from,
            finished: AtomicU64::new(0),
            twice: AtomicU64::new(0),
            last_finish: AtomicI64::new(0),
            all_finished: Notify::new(),
            any: AtomicBool::new(false),
            env,
        })
    }

    /// The job with this number, about 100 bytes of payload.
    pub(crate) fn job(&self, number: u64) -> RawJob {
        plain_job(number, self.retention).with(|options| options.id(self.id(number).to_string()))
    }

    /// The same job as a line of `enqueue --batch`.
    pub(crate) fn line(&self, number: u64) -> String {
        let (id, payload, retention) = (self.id(number), payload(number), self.retention.as_millis());
        format!(
            "{{\"kind\":\"{KIND}\",\"queue\":\"{QUEUE}\",\"id\":\"{id}\",\"retention\":\"{retention}ms\",\"payload\":{payload}}}\n"
        )
    }

    fn id(&self, number: u64) -> JobId {
        JobId::from_uuid(Uuid::from_u128(self.run << NUMBER_BITS | u128::from(number)))
    }

    /// The number of a job of this run, measured or not.
    fn any_number(&self, id: &JobId) -> Option<u64> {
        let id = id.as_uuid()?.as_u128();
        let number = id & ((1 << NUMBER_BITS) - 1);
        (id >> NUMBER_BITS == self.run).then_some(number as u64)
    }

    fn number(&self, id: &JobId) -> Option<usize> {
        self.any_number(id).filter(|number| *number < self.jobs).map(|number| number as usize)
    }

    fn noted(&self, number: u64) -> Option<&AtomicI64> {
        self.began.get(number.checked_sub(self.timed_from)? as usize)
    }

    fn begin(&self, id: &JobId) {
        let Some(number) = self.any_number(id) else { return };
        if let Some(began) = self.noted(number) {
            began.store(self.env.monotonic().0, Relaxed);
        }
        let Some(number) = self.number(id) else { return };
        if self.runs[number].fetch_add(1, Relaxed) > 0 {
            self.twice.fetch_add(1, Relaxed);
        }
    }

    fn note(&self, event: &Event) {
        if event.event != EventKind::Finished || event.state != Some(JobState::Completed) {
            return;
        }
        self.any.store(true, Relaxed);
        if self.number(&event.id).is_some() && self.finished.fetch_add(1, Relaxed) + 1 == self.jobs {
            self.last_finish.store(self.env.monotonic().0, Relaxed);
            self.all_finished.notify_one();
        }
    }

    /// The server that `work` runs, with a handler that notes the job's number and does nothing.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        client: &Client,
        slots: usize,
    ) -> Result<RunningServer, windlass::Error> {
        let (handler, listener) = (self.clone(), self.clone());
        let router = Router::new().at(KIND, move |_: Unread, ctx: JobContext| {
            handler.begin(ctx.id());
            std::future::ready(windlass::Result::<()>::Ok(()))
        });
        let server = Server::new(client, router).queues([(QUEUE, 1)]).concurrency(slots);
        server.on_event(move |event| listener.note(event)).start().await
    }

    /// Waits until all are finished, or nothing has happened for half a minute. Says when the last one was.
    pub(crate) async fn ended(&self) -> Monotonic {
        const PATIENCE: Duration = Duration::from_secs(30);
        loop {
            self.any.store(false, Relaxed);
            tokio::select! {
                biased;
                () = self.all_finished.notified() => return Monotonic(self.last_finish.load(Relaxed)),
                () = self.env.sleep(PATIENCE) => {
                    if !self.any.load(Relaxed) {
                        return self.env.monotonic();
                    }
                }
            }
        }
    }

    pub(crate) fn delivery(&self) -> Delivery {
        let finished = self.finished.load(Relaxed);
        Delivery {
            enqueued: self.jobs,
            finished,
            lost: self.jobs.saturating_sub(finished),
            twice: self.twice.load(Relaxed).max(finished.saturating_sub(self.jobs)),
        }
    }

    /// Waits until so many of the fresh jobs have begun, for some seconds; answers how many have not.
    pub(crate) async fn await_fresh(&self, fresh: u64) -> u64 {
        let missing = || (0..fresh).filter(|at| self.began[*at as usize].load(Relaxed) == 0).count() as u64;
        for _ in 0..100 {
            if missing() == 0 {
                break;
            }
            self.env.sleep(Duration::from_millis(100)).await;
        }
        missing()
    }

    /// When the job with this number began; zero if it has not.
    pub(crate) fn began(&self, number: usize) -> Monotonic {
        Monotonic(self.noted(number as u64).map_or(0, |began| began.load(Relaxed)))
    }
}

/// A job whose id the client makes.
pub(crate) fn plain_job(number: u64, retention: Duration) -> RawJob {
    RawJob::new(KIND, payload(number)).with(|options| options.queue(QUEUE).retention(retention))
}

fn payload(number: u64) -> String {
    format!(
        r#"{{"number":{number},"to":"somebody@example.com","subject":"your invoice is ready","template":"invoice"}}"#
    )
}
