//! Makes one job of the members of each group that is due, with the users' aggregators.
//! Runs in every server that has one; the store makes sure that each member becomes a part of one job only.
//! Decides nothing: `decide/group.rs` says when a group is due, by the store's own clock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tracing::{debug, warn};

use crate::{
    decide::group::{due_in, pause_after},
    job::{GroupInfo, GroupKey, GroupMember, Monotonic, Pattern, Timestamp},
    server::{
        core::{Core, Life},
        group::{Aggregator, Group, NoJob},
    },
    store::{Flush, Flushed, Result},
};

/// The most groups to look at in one call.
const PAGE: u32 = 500;
/// The longest wait between two looks, and the shortest.
const POLL: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(10);
/// How long a group's failures are remembered after its pause is over.
const REMEMBER: Duration = Duration::from_secs(600);

/// A group whose aggregator failed lately.
struct Failing {
    times: u32,
    again_at: Monotonic,
}

type AllFailing = BTreeMap<GroupKey, Failing>;

pub(crate) async fn run(core: Arc<Core>) {
    if core.config.aggregators.is_empty() {
        return;
    }
    let mut failing = AllFailing::new();
    // No hints: they come with every job, and a group that has just grown is seldom due.
    while core.life() < Life::Stopping {
        let wait = look(&core, &mut failing).await.unwrap_or_else(|error| {
            debug!(%error, "groups could not be looked at");
            POLL
        });
        let now = core.env.monotonic();
        failing.retain(|_, group| now.since(group.again_at) < REMEMBER);
        core.sleep_until(Life::Stopping, wait.clamp(SHORTEST, POLL)).await;
    }
}

/// Goes through the groups of the server's queues, and says how long until the next one is due.
async fn look(core: &Core, failing: &mut AllFailing) -> Result<Duration> {
    let mut wait = POLL;
    for (queue, _) in &core.queues {
        let mut after = None;
        loop {
            let page = core.store().groups(Some(queue.clone()), after, PAGE).await?;
            for group in &page.items {
                wait = wait.min(tend(core, group, page.now, failing).await?);
                // A store that never makes us wait would keep the thread from everybody else.
                tokio::task::consume_budget().await;
            }
            after = page.next;
            if after.is_none() || core.life() >= Life::Stopping {
                break;
            }
        }
    }
    Ok(wait)
}

/// Flushes a group if it is due, and says how long until it is (again).
async fn tend(core: &Core, group: &GroupInfo, now: Timestamp, failing: &mut AllFailing) -> Result<Duration> {
    let Some(place) = Pattern::best(&core.config.groups, &group.key.name) else { return Ok(POLL) };
    let aggregator = &core.config.aggregators[place];
    let paused = failing.get(&group.key).map_or(Duration::ZERO, |group| group.again_at.since(core.env.monotonic()));
    let wait = due_in(group, &aggregator.rules, now).max(paused);
    if !wait.is_zero() {
        return Ok(wait);
    }
    match flush(core, aggregator, &group.key).await {
        Ok(()) => {
            failing.remove(&group.key);
            // There may be more of it than one flush takes.
            Ok(Duration::ZERO)
        }
        Err(Unflushed::Store(error)) => Err(error),
        Err(Unflushed::Failed(problem)) => {
            let times = failing.get(&group.key).map_or(0, |group| group.times) + 1;
            let pause = core.env.jittered(pause_after(times));
            let again_at = core.env.monotonic().after(pause);
            warn!(
                queue = group.key.queue.as_str(),
                group = &*group.key.name,
                times,
                problem,
                "the aggregator failed; the jobs wait in their group, and it is tried again"
            );
            failing.insert(group.key.clone(), Failing { times, again_at });
            Ok(pause)
        }
    }
}

/// Why a group was not flushed.
enum Unflushed {
    /// The store is away: all groups wait.
    Store(crate::store::StoreError),
    /// This group waits.
    Failed(String),
}

/// Reads, aggregates, and flushes what was read. Whoever crashes in between has changed nothing.
async fn flush(core: &Core, aggregator: &Aggregator, key: &GroupKey) -> Result<(), Unflushed> {
    let mut limit = aggregator.rules.max_size;
    loop {
        let members = core.store().members(key, limit).await.map_err(unflushed)?;
        let many = members.len() as u32;
        if many == 0 {
            return Ok(());
        }
        let group = Group::new(key.clone(), members.iter().map(|member| member.spec.clone()).collect());
        let into = match aggregator.job(&core.client, &group) {
            Ok(job) => job,
            Err(NoJob::TooLarge(_)) if many > 1 => {
                limit = many / 2;
                continue;
            }
            Err(NoJob::TooLarge(problem) | NoJob::Failed(problem)) => return Err(Unflushed::Failed(problem)),
        };
        let flush = Flush { group: key.clone(), members: members.iter().map(GroupMember::read).collect(), into };
        return match core.store().flush(&flush).await.map_err(unflushed)? {
            Flushed::Into(id) => {
                let (queue, group) = (key.queue.as_str(), &*key.name);
                debug!(job.id = %id, queue, group, members = many, "a group was flushed");
                Ok(())
            }
            Flushed::Changed => {
                debug!(queue = key.queue.as_str(), group = &*key.name, "a group changed while it was aggregated");
                Ok(())
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
