//! What each fact works on: a new store, the hand that moves its time, and the steps that facts share.
//! A step fails the test when the store answers an error; what it answers otherwise is for the fact to judge.

use std::{
    any::Any,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    decide::{operate::Action, queues::QueueShare},
    env::Env,
    job::{
        DeadReason, ErrorClass, JobId, JobOptions, JobRecord, KindFilter, Lease, NewJob, News, QueueName, ServerId,
        State, Verdict,
    },
    store::{
        Backend, Census, Claim, ClaimRequest, Claimed, Enqueued, ExtendRequest, Failure, Finish, Finished, Operated,
        PromoteRules, Report, Reported, RescueRules, Rescued, RescuedJob,
    },
    testing::{ManualClock, job},
};

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);
/// One minute.
pub const MINUTE: Duration = Duration::from_secs(60);
/// One hour.
pub const HOUR: Duration = Duration::from_secs(3600);
/// One day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// The lease of all claims that do not say otherwise.
pub const LEASE: Duration = Duration::from_secs(10);
/// The number of crashes that make a job poison.
pub const POISON_AFTER: u32 = 3;

/// What a factory of stores hands over: the store, and what must live as long as it (a temporary directory).
pub struct Opened {
    store: Arc<dyn Backend>,
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Opened {
    /// A store that needs nothing beside it.
    pub fn new(store: impl Backend) -> Self {
        Self::shared(Arc::new(store))
    }

    /// The same, for a store that is shared already.
    pub fn shared(store: Arc<dyn Backend>) -> Self {
        Self { store, keep: None }
    }

    /// Keeps something alive for as long as the store is used.
    #[must_use]
    pub fn keep(mut self, thing: impl Any + Send + Sync) -> Self {
        self.keep = Some(Arc::new(thing));
        self
    }
}

/// A new store and the hand that moves its time.
#[derive(Clone)]
pub struct Bench {
    /// The store.
    pub store: Arc<dyn Backend>,
    /// Its time.
    pub clock: ManualClock,
    /// Its place.
    pub env: Env,
    /// The server that claims when a fact does not say which.
    pub server: ServerId,
    /// Another server.
    pub other: ServerId,
    sequence: Arc<AtomicU64>,
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Bench {
    /// A bench with a new store of the factory's.
    pub async fn open<F, Fut>(factory: F) -> Self
    where
        F: FnOnce(Env) -> Fut,
        Fut: Future<Output = Opened>,
    {
        let clock = ManualClock::new();
        let env = clock.env();
        let Opened { store, keep } = factory(env.clone()).await;
        let (server, other) = (env.new_server_id(), env.new_server_id());
        Self { store, clock, env, server, other, sequence: Arc::default(), _keep: keep }
    }

    /// A job of kind `work`.
    pub fn job(&self, options: JobOptions) -> NewJob {
        self.job_of("work", options)
    }

    /// A job of this kind.
    pub fn job_of(&self, kind: &str, options: JobOptions) -> NewJob {
        job(kind).options(options).build(&self.env)
    }

    /// Enqueues.
    pub async fn enqueue(&self, jobs: Vec<NewJob>) -> Vec<Enqueued> {
        self.store.enqueue(jobs).await.expect("enqueue")
    }

    /// Enqueues one job of kind `work`, which must be new.
    pub async fn add(&self, options: JobOptions) -> JobId {
        self.add_job(self.job(options)).await
    }

    /// Enqueues one job of this kind, which must be new.
    pub async fn add_of(&self, kind: &str, options: JobOptions) -> JobId {
        self.add_job(self.job_of(kind, options)).await
    }

    /// Enqueues one job, which must be new.
    pub async fn add_job(&self, job: NewJob) -> JobId {
        let id = job.spec.id.clone();
        assert_eq!(self.enqueue(vec![job]).await, [Enqueued::New(id.clone())]);
        id
    }

    /// Enqueues this many plain jobs, one by one, so that their order of arrival is known.
    pub async fn add_many(&self, count: usize) -> Vec<JobId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.add(JobOptions::new()).await);
        }
        ids
    }

    /// A claim of the queue `default`, of every kind, with a number of its own.
    pub fn request(&self, limit: u32) -> ClaimRequest {
        self.request_from(&["default"], limit)
    }

    /// A claim in which each of these queues may give all.
    pub fn request_from(&self, queues: &[&str], limit: u32) -> ClaimRequest {
        let share = |name: &&str| QueueShare { queue: queue(name), quota: limit };
        ClaimRequest {
            server: self.server,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            limit,
            slots: limit,
            quick: Default::default(),
            shares: queues.iter().map(share).collect(),
            kinds: KindFilter::all(),
            lease: LEASE,
            suspect: false,
        }
    }

    /// Claims, and gives the whole answer.
    pub async fn ask(&self, request: &ClaimRequest) -> Claim {
        self.store.claim(request).await.expect("claim")
    }

    /// Claims.
    pub async fn take(&self, request: &ClaimRequest) -> Vec<Claimed> {
        self.ask(request).await.jobs
    }

    /// Claims from the queue `default`.
    pub async fn claim(&self, limit: u32) -> Vec<Claimed> {
        self.take(&self.request(limit)).await
    }

    /// Claims the one job that comes next.
    pub async fn claim_one(&self) -> Claimed {
        self.claim(1).await.pop().expect("a job to claim")
    }

    /// Claims the suspect that must be there.
    pub async fn claim_suspect(&self) -> Claimed {
        let request = ClaimRequest { suspect: true, ..self.request(10) };
        let mut jobs = self.take(&request).await;
        assert_eq!(jobs.len(), 1, "a suspect comes alone");
        jobs.remove(0)
    }

    /// Reports one run.
    pub async fn finish(&self, lease: Lease, verdict: Verdict) -> Finished {
        self.finish_with(report(lease, verdict)).await
    }

    /// Reports one run, with all that belongs to it.
    pub async fn finish_with(&self, finish: Finish) -> Finished {
        let mut answers = self.store.finish(vec![finish]).await.expect("finish");
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// Says something of one run.
    pub async fn say(&self, lease: &Lease, news: News) -> Reported {
        let report = Report { lease: lease.clone(), news };
        let mut answers = self.store.report(vec![report]).await.expect("report");
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// Enqueues, claims from a queue of its own, and reports.
    pub async fn run(&self, options: JobOptions, verdict: Verdict) -> JobId {
        let (id, lease) = self.start(options).await;
        assert!(matches!(self.finish(lease, verdict).await, Finished::Applied(_)));
        id
    }

    /// Enqueues into the queue `own` and claims it from there.
    pub async fn start(&self, options: JobOptions) -> (JobId, Lease) {
        let id = self.add(options.queue("own")).await;
        let mut jobs = self.take(&self.request_from(&["own"], 1)).await;
        assert_eq!(ids(&jobs), std::slice::from_ref(&id), "the queue `own` holds nothing else");
        (id, jobs.remove(0).lease())
    }

    /// Renews leases of [`Bench::server`] and gives the lost ones.
    pub async fn extend(&self, leases: &[Lease]) -> Vec<Lease> {
        self.store.extend(&self.renewal(leases)).await.expect("extend")
    }

    /// A renewal of these leases.
    pub fn renewal(&self, leases: &[Lease]) -> ExtendRequest {
        ExtendRequest { server: self.server, leases: leases.to_vec(), lease: LEASE, ran_late: false }
    }

    /// Rescues up to 100 jobs.
    pub async fn rescue(&self) -> Vec<RescuedJob> {
        self.rescue_by(&rules()).await.jobs
    }

    /// Rescues by these rules.
    pub async fn rescue_by(&self, rules: &RescueRules) -> Rescued {
        self.store.rescue(rules).await.expect("rescue")
    }

    /// Lets a whole lease pass while other servers keep stamping the store, so that it is no outage.
    pub async fn lapse(&self) {
        self.pass(LEASE + Duration::from_millis(1)).await;
    }

    /// Lets time pass while other servers keep stamping the store.
    pub async fn pass(&self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() {
            let step = left.min(LEASE / 4);
            self.clock.advance(step);
            left -= step;
            assert_eq!(self.extend(&[]).await, []);
        }
    }

    /// Lets all running jobs of this bench lapse and rescues them.
    pub async fn crash(&self) -> Vec<RescuedJob> {
        self.lapse().await;
        self.rescue().await
    }

    /// Puts up to 1,000 due jobs into line.
    pub async fn promote(&self) -> u32 {
        self.store.promote(&PromoteRules::all(1000)).await.expect("promote").moved
    }

    /// Acts on one job.
    pub async fn operate(&self, id: &JobId, action: Action) -> Operated {
        self.store.operate(id, &action).await.expect("operate")
    }

    /// Asks for a job to be cancelled.
    pub async fn cancel(&self, id: &JobId, reason: &str) -> Operated {
        self.operate(id, Action::Cancel { reason: reason.into() }).await
    }

    /// The job, if it is there.
    pub async fn get(&self, id: &JobId) -> Option<JobRecord> {
        self.store.get(id).await.expect("get")
    }

    /// The job, which must be there.
    pub async fn record(&self, id: &JobId) -> JobRecord {
        self.get(id).await.unwrap_or_else(|| panic!("job {id} is gone"))
    }

    /// The job's state.
    pub async fn state(&self, id: &JobId) -> State {
        self.record(id).await.state
    }

    /// All counts.
    pub async fn census(&self) -> Census {
        self.store.census().await.expect("census")
    }

    /// Brings a new job into this state, with an hour of retention or until it is due. Gives its lease if it runs.
    pub async fn bring_to(&self, state: State, options: JobOptions) -> (JobId, Option<Lease>) {
        let options = options.retention(HOUR);
        let verdict = match state {
            State::Pending => return (self.add(options).await, None),
            State::Scheduled => return (self.add(options.process_in(HOUR)).await, None),
            State::Aggregating => return (self.add(options.group("waiting")).await, None),
            State::Running => {
                let (id, lease) = self.start(options).await;
                return (id, Some(lease));
            }
            State::Retrying => Verdict::RetryIn(HOUR),
            State::Completed => Verdict::Complete,
            State::Dead => Verdict::Bury(DeadReason::Buried),
            State::Cancelled => Verdict::Cancel("no longer wanted".into()),
            other => panic!("no job can be brought to {other} yet"),
        };
        let id = self.run(options, verdict).await;
        assert_eq!(self.state(&id).await, state);
        (id, None)
    }
}

/// The states that a job can be brought to today.
pub const REACHABLE: [State; 8] = [
    State::Pending,
    State::Scheduled,
    State::Aggregating,
    State::Running,
    State::Retrying,
    State::Completed,
    State::Dead,
    State::Cancelled,
];

/// A queue's name.
pub(super) fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a test's queue name is valid")
}

/// A caller's own job id.
pub(super) fn id(text: &str) -> JobId {
    text.parse().expect("a test's job id is valid")
}

/// The ids, in order.
pub(super) fn ids(jobs: &[Claimed]) -> Vec<JobId> {
    jobs.iter().map(|job| job.spec.id.clone()).collect()
}

/// The leases, in order.
pub(super) fn leases(jobs: &[Claimed]) -> Vec<Lease> {
    jobs.iter().map(Claimed::lease).collect()
}

/// The report of a run of five milliseconds with nothing else to say.
pub(super) fn report(lease: Lease, verdict: Verdict) -> Finish {
    Finish {
        lease,
        verdict,
        error: None,
        result: None,
        then: Vec::new(),
        ran: Duration::from_millis(5),
        news: Vec::new(),
    }
}

/// An error as a handler returns it.
pub(super) fn failure(message: &str) -> Option<Failure> {
    Some(Failure { class: ErrorClass::Error, message: message.into() })
}

/// The rules of a rescue by a punctual server.
pub fn rules() -> RescueRules {
    RescueRules { poison_after: POISON_AFTER, lease: LEASE, limit: 100, ran_late: false }
}
