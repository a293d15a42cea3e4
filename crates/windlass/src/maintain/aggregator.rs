//! Makes one job of the members of each group that is due, with the users' aggregators.
//! Runs in every server that has one; the store makes sure that each member becomes a part of one job only.
//! Decides nothing: `decide/group.rs` says when a group is due, by the store's own clock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tracing::{debug, warn};

use crate::{
    client::Client,
    decide::group::{due_in, look_again_in, pause_after},
    job::{GroupInfo, GroupKey, GroupMember, Monotonic, Pattern, QueueName, Timestamp},
    server::{
        core::{Core, Life},
        group::{Aggregator, Group, NoJob},
    },
    store::{Flush, Flushed, Result},
};

/// The most groups to look at in one call.
const PAGE: u32 = 500;
/// How many jobs are made of one group before the others are looked at.
const FLUSHES: u32 = 100;
/// How long a group's failures are remembered after its pause is over.
const REMEMBER: Duration = Duration::from_secs(600);

/// A group whose aggregator failed lately.
struct Failing {
    times: u32,
    again_at: Monotonic,
}

/// The groups whose aggregators failed lately.
#[derive(Default)]
pub(crate) struct AllFailing(BTreeMap<GroupKey, Failing>);

impl AllFailing {
    fn forget(&mut self, now: Monotonic) {
        self.0.retain(|_, group| now.since(group.again_at) < REMEMBER);
    }
}

pub(crate) async fn run(core: Arc<Core>) {
    if core.config.aggregators.is_empty() {
        return;
    }
    let tender = Tender { client: &core.client, aggregators: &core.config.aggregators, names: &core.config.groups };
    let mut failing = AllFailing::default();
    // No hints: they come with every job, and a group that has just grown is seldom due.
    while core.life() < Life::Stopping {
        let began = core.env.monotonic();
        let mut next: Option<Duration> = None;
        for (queue, _) in &core.queues {
            let go_on = || core.life() < Life::Stopping;
            match tender.look(queue, &mut failing, go_on).await {
                Ok(looked) => next = looked.next.into_iter().chain(next).min(),
                Err(error) => debug!(%error, "groups could not be looked at"),
            }
        }
        let now = core.env.monotonic();
        failing.forget(now);
        core.sleep_until(Life::Stopping, look_again_in(next, now.since(began))).await;
    }
}

/// Sees to the groups that have an aggregator.
pub(crate) struct Tender<'a> {
    pub(crate) client: &'a Client,
    pub(crate) aggregators: &'a [Aggregator],
    /// The names of the groups of each.
    pub(crate) names: &'a [Pattern],
}

/// What became of a look at the groups of a queue.
#[derive(Default)]
pub(crate) struct Looked {
    /// In how long the next of them is due; zero when one has just been flushed, since there may be more of it.
    pub(crate) next: Option<Duration>,
    /// Groups that were flushed.
    pub(crate) flushed: u32,
    /// Groups whose aggregator failed, and how.
    pub(crate) failed: Vec<(GroupKey, String)>,
}

impl Tender<'_> {
    /// Goes through the groups of a queue and flushes those that are due.
    pub(crate) async fn look(
        &self,
        queue: &QueueName,
        failing: &mut AllFailing,
        go_on: impl Fn() -> bool,
    ) -> Result<Looked> {
        let mut looked = Looked::default();
        let mut after = None;
        loop {
            let page = self.client.store().groups(Some(queue.clone()), after, PAGE).await?;
            for group in &page.items {
                let wait = self.tend(group, page.now, failing, &mut looked).await?;
                looked.next = wait.into_iter().chain(looked.next).min();
                // A store that never makes us wait would keep the thread from everybody else.
                tokio::task::consume_budget().await;
            }
            after = page.next;
            if after.is_none() || !go_on() {
                return Ok(looked);
            }
        }
    }

    /// Flushes a group if it is due, and says how long until it is (again). None: no aggregator is for it.
    async fn tend(
        &self,
        group: &GroupInfo,
        now: Timestamp,
        failing: &mut AllFailing,
        looked: &mut Looked,
    ) -> Result<Option<Duration>> {
        let Some(place) = Pattern::best(self.names, &group.key.name) else { return Ok(None) };
        let (env, failing) = (self.client.env(), &mut failing.0);
        let aggregator = &self.aggregators[place];
        let paused = failing.get(&group.key).map_or(Duration::ZERO, |group| group.again_at.since(env.monotonic()));
        let wait = due_in(group, &aggregator.rules, now).max(paused);
        if !wait.is_zero() {
            return Ok(Some(wait));
        }
        match self.flush_all(aggregator, &group.key, &mut looked.flushed).await {
            Ok(()) => {
                failing.remove(&group.key);
                Ok(Some(Duration::ZERO))
            }
            Err(Unflushed::Store(error)) => Err(error),
            Err(Unflushed::Failed(problem)) => {
                let times = failing.get(&group.key).map_or(0, |group| group.times) + 1;
                let pause = env.jittered(pause_after(times));
                let again_at = env.monotonic().after(pause);
                warn!(
                    queue = group.key.queue.as_str(),
                    group = &*group.key.name,
                    times,
                    problem,
                    "the aggregator failed; the jobs wait in their group, and it is tried again"
                );
                failing.insert(group.key.clone(), Failing { times, again_at });
                looked.failed.push((group.key.clone(), problem));
                Ok(Some(pause))
            }
        }
    }
}

impl Tender<'_> {
    /// Flushes once, and again as long as the group is full.
    async fn flush_all(&self, aggregator: &Aggregator, key: &GroupKey, flushed: &mut u32) -> Result<(), Unflushed> {
        let mut least = 1;
        for _ in 0..FLUSHES {
            if !flush(self.client, aggregator, key, least).await? {
                break;
            }
            *flushed += 1;
            least = aggregator.rules.max_size;
            tokio::task::consume_budget().await;
        }
        Ok(())
    }
}

/// Why a group was not flushed.
enum Unflushed {
    /// The store is away: all groups wait.
    Store(crate::store::StoreError),
    /// This group waits.
    Failed(String),
}

/// Reads, aggregates, and flushes what was read, unless there are fewer than `least` or it has changed meanwhile. Whoever
/// crashes in between has changed nothing.
async fn flush(client: &Client, aggregator: &Aggregator, key: &GroupKey, least: u32) -> Result<bool, Unflushed> {
    let mut limit = aggregator.rules.max_size;
    loop {
        let members = client.store().members(key, limit).await.map_err(unflushed)?;
        let many = members.len() as u32;
        if many == 0 || (limit == aggregator.rules.max_size && many < least) {
            return Ok(false);
        }
        let group = Group::new(key.clone(), members.iter().map(|member| member.spec.clone()).collect());
        let into = match aggregator.job(client, &group) {
            Ok(job) => job,
            Err(NoJob::TooLarge(_)) if many > 1 => {
                limit = many / 2;
                continue;
            }
            Err(NoJob::TooLarge(problem) | NoJob::Failed(problem)) => return Err(Unflushed::Failed(problem)),
        };
        let flush = Flush { group: key.clone(), members: members.iter().map(GroupMember::read).collect(), into };
        return match client.store().flush(&flush).await.map_err(unflushed)? {
            Flushed::Into(id) => {
                let (queue, group) = (key.queue.as_str(), &*key.name);
                debug!(job.id = %id, queue, group, members = many, "a group was flushed");
                Ok(true)
            }
            Flushed::Changed => {
                debug!(queue = key.queue.as_str(), group = &*key.name, "a group changed while it was aggregated");
                Ok(false)
            }
            Flushed::Taken(id, _) => Err(Unflushed::Failed(format!(
                "job `{id}` has the id or the unique key of the job it made; give each flush another one, or wait until \
                 that one has ended"
            ))),
        };
    }
}

fn unflushed(error: crate::store::StoreError) -> Unflushed {
    if error.is_retryable() { Unflushed::Store(error) } else { Unflushed::Failed(error.to_string()) }
}
