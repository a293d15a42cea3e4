//! Enqueues the job of each tick of the schedules that stores keep.
//! Runs in every server; the store makes sure that each tick is decided about once.
//! Decides nothing: `decide/schedule` says what is due, by the store's own clock.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tracing::{debug, info, warn};

use crate::{
    client::{
        Client,
        schedule::Declared,
        ticking::{Read, Ticked},
    },
    decide::schedule::{record::ScheduleOrigin, tz_version},
    error::Error,
    job::{QueueName, Timestamp},
    server::core::{Core, Life},
    store::{Result as Answer, Revision, ScheduleKey, StoreError, StoredSchedule},
};

/// The most schedules to look at in one call.
const PAGE: u32 = 200;
/// The longest wait between two looks: others add and change schedules, too.
const POLL: Duration = Duration::from_secs(5);
/// The same while there are none at all: whoever uses no schedules hardly pays for them.
const POLL_NONE: Duration = Duration::from_secs(30);
/// How long to wait for a job whose end lets a tick start, and for a store that is away.
const JOB_POLL: Duration = Duration::from_secs(1);
/// A moment, for those who were slower than another server.
const MOMENT: Duration = Duration::from_millis(10);
/// How often one schedule is gone on with before the others are looked at.
const STEPS: u32 = 10;

/// Declares what the server declares, and starts what is due already. A store that is away is waited for later.
pub(crate) async fn begin(core: &Arc<Core>) -> Result<Scheduler, Error> {
    let mut scheduler = Scheduler::new(core.client.clone(), core.config.schedules.clone());
    if !scheduler.declared.is_empty() {
        info!(schedules = scheduler.declared.len(), tz_version = tz_version(), "declaring schedules");
        let queues = core.queues.iter().map(|(queue, _)| queue.clone()).collect();
        scheduler.warn(&queues, core.env.wall());
        scheduler.declare().await?;
        if let Err(error) = scheduler.look(|| true).await {
            debug!(%error, "schedules could not be looked at");
        }
    }
    Ok(scheduler)
}

pub(crate) async fn run(core: Arc<Core>, mut scheduler: Scheduler) {
    let mut wait = Duration::ZERO;
    while !core.sleep_until(Life::Stopping, wait).await {
        if let Err(error) = scheduler.declare().await {
            // At the start it would have been an error; now it is one declaration that does not hold.
            let refused = scheduler.undeclared.pop().map(|declared| declared.name);
            warn!(%error, schedule = refused.as_deref(), "a schedule could not be declared");
            continue;
        }
        wait = match scheduler.look(|| core.life() < Life::Stopping).await {
            Ok(next) => next.unwrap_or(POLL_NONE).min(if scheduler.has_any { POLL } else { POLL_NONE }),
            Err(StoreError::Unsupported(_)) => return,
            Err(error) => {
                debug!(%error, "schedules could not be looked at");
                core.env.jittered(JOB_POLL)
            }
        };
    }
}

/// Sees to the schedules of a store.
pub(crate) struct Scheduler {
    client: Client,
    declared: Vec<Declared>,
    /// Those of them that the store has not heard of yet.
    undeclared: Vec<Declared>,
    /// Schedules that could not be worked with, by the version that was said to be so.
    said: BTreeMap<ScheduleKey, Revision>,
    /// Whether the last look found any.
    has_any: bool,
}

impl Scheduler {
    pub(crate) fn new(client: Client, declared: Vec<Declared>) -> Self {
        Self { client, undeclared: declared.clone(), declared, said: BTreeMap::new(), has_any: false }
    }

    /// Says what the author of a declaration may not have meant.
    fn warn(&self, queues: &HashSet<QueueName>, now: Timestamp) {
        for Declared { name, definition, .. } in &self.declared {
            for warning in definition.rule(now).iter().flat_map(|rule| rule.lint(now)) {
                warn!(schedule = &**name, code = warning.code, "{warning}");
            }
            if !queues.contains(&definition.job.queue) {
                let queue = definition.job.queue.as_str();
                warn!(schedule = &**name, queue, "a schedule enqueues into a queue that this server does not serve");
            }
        }
    }

    /// Tells the store of what is declared, as far as it is there.
    ///
    /// # Errors
    /// When the store refuses it for good.
    pub(crate) async fn declare(&mut self) -> Result<(), Error> {
        while let Some(declared) = self.undeclared.last() {
            match self.client.declare(declared).await {
                Ok(_) => _ = self.undeclared.pop(),
                Err(Error::Store(error)) if error.is_retryable() => {
                    debug!(%error, "schedules could not be declared");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lets all schedules tick, and says how long until the next one has to be looked at.
    pub(crate) async fn look(&mut self, go_on: impl Fn() -> bool) -> Answer<Option<Duration>> {
        let (mut after, mut next) = (None, None);
        let mut names = HashSet::new();
        self.has_any = !self.declared.is_empty();
        loop {
            let page = self.client.store().schedules(after, PAGE).await?;
            self.has_any |= !page.items.is_empty();
            for stored in &page.items {
                // Under one name in two queues: programs have declared it at once, and one of them counts.
                if !names.insert(stored.key.name.clone()) {
                    self.client.resolve_schedule(&stored.key.name).await;
                    next = Some(MOMENT);
                    continue;
                }
                next = self.see_to(stored, page.now).await.into_iter().chain(next).min();
                // A store that never makes us wait would keep the thread from everybody else.
                tokio::task::consume_budget().await;
            }
            after = page.next;
            if after.is_none() || !go_on() {
                return Ok(next);
            }
        }
    }

    /// Sees to one schedule, and says how long until it needs that again.
    async fn see_to(&mut self, stored: &StoredSchedule, now: Timestamp) -> Option<Duration> {
        let seen = match Read::of(stored) {
            Ok(read) => self.tick(read, now).await,
            Err(problem) => Err(StoreError::Corrupt(problem).into()),
        };
        match seen {
            Ok(next) => {
                self.said.remove(&stored.key);
                next
            }
            Err(Error::Store(error)) if error.is_retryable() => {
                debug!(%error, schedule = &*stored.key.name, "a schedule could not be looked after");
                Some(JOB_POLL)
            }
            Err(error) => {
                if self.said.insert(stored.key.clone(), stored.revision) != Some(stored.revision) {
                    warn!(%error, schedule = &*stored.key.name, "a schedule cannot be worked with and does not tick");
                }
                None
            }
        }
    }

    async fn tick(&self, mut read: Read, mut now: Timestamp) -> Result<Option<Duration>, Error> {
        for _ in 0..STEPS {
            if !self.is_ours(&read) {
                return Ok(None);
            }
            if read.moves() {
                self.client.finish_move(&read, now).await?;
                return Ok(Some(MOMENT));
            }
            match self.client.tick(&read, now).await? {
                Ticked::Until(next) => return Ok(until(next, now)),
                Ticked::Waits(next) => return Ok(until(next, now).into_iter().chain([JOB_POLL]).min()),
                Ticked::Again => {}
            }
            let (found, later) = self.client.read_schedule(&read.record.name).await?;
            let Some(found) = found else { return Ok(None) };
            (read, now) = (found, later);
        }
        Ok(Some(MOMENT))
    }

    /// Whether we let it tick: what code or configuration declares ticks while a server is there that does.
    fn is_ours(&self, read: &Read) -> bool {
        let named = |declared: &Declared| declared.name == read.record.name;
        read.record.origin == ScheduleOrigin::Stored || self.declared.iter().any(named)
    }
}

/// How long to wait for a tick. Not for less than a moment, since the store's clock may be a little behind.
fn until(next: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    next.map(|next| next.since(now).max(Duration::from_millis(1)))
}
