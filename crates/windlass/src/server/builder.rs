//! Sets a server up. Mistakes are found at start, and only there.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use super::{
    RunningServer,
    context::JobContext,
    core::Core,
    events::Event,
    group::{self, Aggregator},
    router::{Router, Routes},
    rules::{Terms, kinds, terms},
};
use crate::{
    client::{
        Client,
        schedule::{Declared, Schedule},
    },
    decide::{breaker::Breaker, budget::RetryBudget, queues::QueuePlan, retry::RetryPolicy},
    env,
    error::Error,
    job::{DEFAULTS, KindFilter, Pattern, QueueName},
};

type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;
type OnError = Arc<dyn Fn(&(dyn StdError + Send + Sync + 'static), &JobContext) + Send + Sync>;
type IsFailure = Arc<dyn Fn(&(dyn StdError + Send + Sync + 'static)) -> bool + Send + Sync>;

/// Claims jobs and runs them. Set it up, then [`run`](Server::run) or [`start`](Server::start) it.
///
/// ```no_run
/// # async fn example(router: windlass::Router) -> Result<(), windlass::Error> {
/// use windlass::{Client, Server};
/// let client = Client::open("memory:").await?;
/// let server = Server::new(&client, router).concurrency(10).queues([("critical", 6), ("default", 3), ("low", 1)]);
/// server.run().await      // until SIGTERM or SIGINT
/// # }
/// ```
#[must_use = "a server does nothing until it is run or started"]
pub struct Server {
    client: Client,
    router: Router,
    pub(crate) queues: Vec<(String, u32)>,
    pub(crate) schedules: Vec<Schedule>,
    limits: Vec<(String, u32)>,
    timeouts: Vec<(String, Duration)>,
    retries: Vec<(String, RetryPolicy)>,
    breakers: Vec<(String, Breaker)>,
    budgets: Vec<(String, RetryBudget)>,
    strict: bool,
    pub(crate) config: Config,
}

/// What a server goes by once it runs.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) slots: u32,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) poison_after: u32,
    pub(crate) unknown_kind_after: Duration,
    pub(crate) timeout_cap: Option<Duration>,
    pub(crate) policy: RetryPolicy,
    pub(crate) poll: Duration,
    pub(crate) prefetch: u32,
    pub(crate) kinds: KindFilter,
    /// Those of each rule of `kinds`.
    pub(crate) terms: Vec<Terms>,
    pub(crate) blocking_threads: u32,
    pub(crate) timeouts: Vec<(Pattern, Duration)>,
    pub(crate) retries: Vec<(Pattern, RetryPolicy)>,
    pub(crate) aggregators: Vec<Aggregator>,
    /// The names of the groups of each aggregator.
    pub(crate) groups: Vec<Pattern>,
    pub(crate) schedules: Vec<Declared>,
    pub(crate) on_event: Vec<OnEvent>,
    pub(crate) on_error: Option<OnError>,
    pub(crate) is_failure: Option<IsFailure>,
}

impl Server {
    /// A server that runs the router's kinds out of the client's store, with the [defaults](DEFAULTS).
    pub fn new(client: &Client, router: Router) -> Self {
        let config = Config {
            slots: DEFAULTS.concurrency as u32,
            lease: DEFAULTS.lease,
            grace: DEFAULTS.grace,
            shutdown_timeout: DEFAULTS.shutdown_timeout,
            poison_after: DEFAULTS.poison_after,
            unknown_kind_after: DEFAULTS.unknown_kind_after,
            timeout_cap: None,
            policy: RetryPolicy::default(),
            poll: Duration::from_secs(1),
            prefetch: 512,
            kinds: KindFilter::default(),
            terms: Vec::new(),
            blocking_threads: env::cores(),
            timeouts: Vec::new(),
            retries: Vec::new(),
            aggregators: Vec::new(),
            groups: Vec::new(),
            schedules: Vec::new(),
            on_event: Vec::new(),
            on_error: None,
            is_failure: None,
        };
        Self {
            client: client.clone(),
            router,
            queues: Vec::new(),
            schedules: Vec::new(),
            limits: Vec::new(),
            timeouts: Vec::new(),
            retries: Vec::new(),
            breakers: Vec::new(),
            budgets: Vec::new(),
            strict: false,
            config,
        }
    }

    /// How many jobs run at once. Default: 10.
    pub fn concurrency(mut self, slots: usize) -> Self {
        self.config.slots = u32::try_from(slots).unwrap_or(u32::MAX);
        self
    }

    /// The queues to take from and their weights. Default: `default` alone.
    pub fn queues<N: Into<String>>(mut self, queues: impl IntoIterator<Item = (N, u32)>) -> Self {
        self.queues = queues.into_iter().map(|(name, weight)| (name.into(), weight)).collect();
        self
    }

    /// Take from the heaviest queue as long as it gives, then from the next. Default: shares by weight.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// How many jobs of the kinds under a pattern run at once in this server. Of two limits that match a kind the more
    /// exact one counts. Default: as many as there are slots.
    pub fn kind_concurrency(mut self, pattern: impl Into<String>, limit: u32) -> Self {
        self.limits.push((pattern.into(), limit));
        self
    }

    /// The longest run of the kinds under a pattern: shortens a job's own timeout, never lengthens it.
    pub fn kind_timeout(mut self, pattern: impl Into<String>, timeout: Duration) -> Self {
        self.timeouts.push((pattern.into(), timeout));
        self
    }

    /// The retry policy of the kinds under a pattern.
    pub fn kind_retry(mut self, pattern: impl Into<String>, policy: RetryPolicy) -> Self {
        self.retries.push((pattern.into(), policy));
        self
    }

    /// Stops running kinds under a pattern for a while when most of their runs fail: see [`Breaker`]. While it is open
    /// their jobs stay pending and burn nothing. Every handler under the pattern has a breaker of its own; one for a
    /// narrower pattern than its handler's is split off. Each server has its own, shown by
    /// [`RunningServer::health`] and [`Client::servers`].
    pub fn breaker(mut self, pattern: impl Into<String>, breaker: Breaker) -> Self {
        self.breakers.push((pattern.into(), breaker));
        self
    }

    /// Lets the retries of kinds under a pattern be only a part of their runs: see [`RetryBudget`]. What is over the
    /// budget waits longer. Every handler under the pattern has a budget of its own in this server.
    pub fn retry_budget(mut self, pattern: impl Into<String>, budget: RetryBudget) -> Self {
        self.budgets.push((pattern.into(), budget));
        self
    }

    /// How many threads [blocking handlers](Router::job_blocking) have, apart from those of the runtime. They are
    /// started when they are needed. Default: as many as the host has cores.
    pub fn blocking_threads(mut self, threads: u32) -> Self {
        self.config.blocking_threads = threads;
        self
    }

    /// Declares a recurring job. At the start of the server the store hears of it: one that is new ticks from then on, one
    /// that was declared otherwise is changed, and the newest declaration holds. It ticks while a server is there that
    /// declares it, once for all of them; a server without it leaves it alone. What one that has gone has declared is
    /// shown as orphaned until somebody removes it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), windlass::Error> {
    /// use windlass::{Client, JobContext, RawJob, Router, Schedule, Server};
    /// async fn report(_: RawJob, ctx: JobContext) -> windlass::Result {
    ///     println!("the report of {}", ctx.scheduled_for().expect("a tick has enqueued it"));
    ///     Ok(())
    /// }
    /// let client = Client::open("memory:").await?;
    /// let weekly = Schedule::cron("weekly", "0 9 * * MON").timezone("Asia/Jakarta").job(RawJob::new("report", "{}"));
    /// let server = Server::new(&client, Router::new().at("report", report)).schedule(weekly).start().await?;
    /// assert!(client.schedule("weekly").await?.next.is_some());
    /// server.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// The retry policy. Default: Asynq's.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.policy = policy;
        self
    }

    /// The longest run of any job: shortens a job's own timeout, never lengthens it.
    pub fn timeout_cap(mut self, cap: Duration) -> Self {
        self.config.timeout_cap = Some(cap);
        self
    }

    /// How long a claimed job is this server's without a sign of life; renewed every third of it. Default: 10 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.config.lease = lease;
        self
    }

    /// How long a handler may go on after it was told to stop. Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self
    }

    /// How long running jobs may go on at shutdown before they are stopped and given back. Default: 25 s.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.config.shutdown_timeout = timeout;
        self
    }

    /// How many crashes make a job poison. Default: 3.
    pub fn poison_after(mut self, crashes: u32) -> Self {
        self.config.poison_after = crashes.max(1);
        self
    }

    /// How long live servers may be there without one that handles a kind before its jobs are dead. Default: 24 h.
    pub fn unknown_kind_after(mut self, time: Duration) -> Self {
        self.config.unknown_kind_after = time;
        self
    }

    /// The most jobs to hold beyond those that run; they are waiting at most about 50 ms. Default: 512; 0 for none.
    pub fn prefetch(mut self, jobs: u32) -> Self {
        self.config.prefetch = jobs;
        self
    }

    /// How long an idle server waits before it looks again when no hint comes. Default: 1 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll = interval.max(Duration::from_millis(1));
        self
    }

    /// Is told what happens to each job. Must not block.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.config.on_event.push(Arc::new(listener));
        self
    }

    /// Is told of each error a handler returns, as it was, with the run it ended.
    pub fn on_error(
        mut self,
        hook: impl Fn(&(dyn StdError + Send + Sync + 'static), &JobContext) + Send + Sync + 'static,
    ) -> Self {
        self.config.on_error = Some(Arc::new(hook));
        self
    }

    /// Says which errors are failures. One that is not burns no attempt: the job is put off by the wait of a first
    /// retry. Default: all are.
    pub fn is_failure(
        mut self,
        judge: impl Fn(&(dyn StdError + Send + Sync + 'static)) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.config.is_failure = Some(Arc::new(judge));
        self
    }

    /// Starts the server beside the caller. Installs no signal handler. Dropping the handle begins the shutdown.
    ///
    /// # Errors
    /// [`Error::Config`] for what is set up wrongly, [`Error::Store`] when the store holds something that this program
    /// cannot read. A store that is away is no error, now or later: the server waits for it.
    pub async fn start(self) -> Result<RunningServer, Error> {
        let (client, routes, plan, config) = self.checked()?;
        Core::start(client, routes, plan, config).await
    }

    /// Runs until SIGTERM or SIGINT (a second one ends the process at once), then shuts down.
    ///
    /// # Errors
    /// As [`start`](Self::start); [`Error::Panicked`] when a part of the server panicked, and it shut down by itself.
    pub async fn run(self) -> Result<(), Error> {
        let server = self.start().await?;
        let ended = tokio::select! {
            biased;
            () = super::shutdown_signal() => Ok(()),
            problem = server.failed() => Err(Error::Panicked(problem)),
        };
        server.shutdown().await;
        ended
    }

    /// Looks whether all is set up rightly, as [`start`](Self::start) does first, and starts nothing. For a program that
    /// wants to know before it opens its store: the client may be of another one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), windlass::Error> {
    /// use windlass::{Client, RawJob, Router, Server};
    /// async fn send(_: RawJob) -> windlass::Result {
    ///     Ok(())
    /// }
    /// let router = Router::new().at("email:*", send);
    /// let server = Server::new(&Client::open("memory:").await?, router).kind_concurrency("email:*", 0);
    /// assert!(server.check().unwrap_err().to_string().contains("the concurrency of `email:*` is 0"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(self) -> Result<(), Error> {
        self.checked().map(drop)
    }

    fn checked(self) -> Result<(Client, Routes, QueuePlan, Config), Error> {
        let invalid = |error: crate::job::InvalidJob| Error::Config(error.to_string());
        if self.config.slots == 0 {
            return Err(Error::Config("the concurrency is 0; a server runs at least one job at a time".into()));
        }
        if self.config.slots > MAX_SLOTS {
            let slots = self.config.slots;
            return Err(Error::Config(format!(
                "the concurrency is {slots}; one server runs at most {MAX_SLOTS} jobs at a time"
            )));
        }
        if self.config.lease < Duration::from_millis(100) {
            return Err(Error::Config("the lease is shorter than 100 ms; it could not be renewed in time".into()));
        }
        let routes = Routes::new(self.router)?;
        let queues = if self.queues.is_empty() { vec![(DEFAULTS.queue.to_owned(), 1)] } else { self.queues };
        let named = |(name, weight): (String, u32)| Ok((QueueName::new(name).map_err(invalid)?, weight));
        let queues = queues.into_iter().map(named).collect::<Result<Vec<_>, Error>>()?;
        check_queues(&queues)?;
        check_timeouts(&self.timeouts, self.config.timeout_cap)?;
        let mut config = self.config;
        config.schedules = resolved(self.schedules, &self.client)?;
        config.groups = group::patterns(&config.aggregators)?;
        config.kinds = kinds(&routes.patterns(), &self.limits)?;
        config.terms = terms(&mut config.kinds, &self.breakers, &self.budgets)?;
        for (terms, rule) in config.terms.iter_mut().zip(&config.kinds.rules) {
            terms.blocking = routes.is_blocking(&rule.pattern);
        }
        if config.blocking_threads == 0 && config.terms.iter().any(|terms| terms.blocking) {
            return Err(Error::Config("a handler blocks and there are 0 threads for it; give at least one".into()));
        }
        for (pattern, timeout) in self.timeouts {
            config.timeouts.push((Pattern::new(&pattern).map_err(invalid)?, timeout));
        }
        for (pattern, policy) in self.retries {
            config.retries.push((Pattern::new(&pattern).map_err(invalid)?, policy));
        }
        Ok((self.client, routes, QueuePlan::new(queues, self.strict), config))
    }
}

/// The schedules, checked; each name once.
pub(crate) fn resolved(schedules: Vec<Schedule>, client: &Client) -> Result<Vec<Declared>, Error> {
    let mut resolved: Vec<Declared> = Vec::with_capacity(schedules.len());
    for schedule in schedules {
        let declared = schedule.resolve(client)?;
        if resolved.iter().any(|other| other.name == declared.name) {
            let name = declared.name;
            return Err(Error::Config(format!("schedule `{name}` is declared twice; give one of them another name")));
        }
        resolved.push(declared);
    }
    Ok(resolved)
}

/// More slots than this are surely a slip.
const MAX_SLOTS: u32 = 65_536;

fn check_queues(queues: &[(QueueName, u32)]) -> Result<(), Error> {
    for (place, (queue, weight)) in queues.iter().enumerate() {
        if *weight == 0 {
            return Err(Error::Config(format!(
                "the weight of queue `{queue}` is 0; leave it out, or give it at least 1"
            )));
        }
        if queues[..place].iter().any(|(other, _)| other == queue) {
            return Err(Error::Config(format!("queue `{queue}` is named twice; give it one weight")));
        }
    }
    Ok(())
}

fn check_timeouts(of_kinds: &[(String, Duration)], cap: Option<Duration>) -> Result<(), Error> {
    if cap.is_some_and(|cap| cap.is_zero()) {
        return Err(Error::Config("the timeout cap is 0; no job could run".into()));
    }
    match of_kinds.iter().find(|(_, timeout)| timeout.is_zero()) {
        Some((pattern, _)) => Err(Error::Config(format!("the timeout of `{pattern}` is 0; no job of it could run"))),
        None => Ok(()),
    }
}

impl Config {
    /// The longest run of a job of this kind with this timeout of its own.
    pub(crate) fn timeout(&self, kind: &str, own: Duration) -> Duration {
        let of_kind = Pattern::best(self.timeouts.iter().map(|(pattern, _)| pattern), kind);
        let caps = of_kind.map(|place| self.timeouts[place].1).into_iter().chain(self.timeout_cap);
        caps.fold(own, Duration::min)
    }

    pub(crate) fn policy(&self, kind: &str) -> &RetryPolicy {
        let of_kind = Pattern::best(self.retries.iter().map(|(pattern, _)| pattern), kind);
        of_kind.map_or(&self.policy, |place| &self.retries[place].1)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("client", &self.client).field("router", &self.router).finish_non_exhaustive()
    }
}
