//! Single jobs and the counts.

use std::time::Duration;

use redis::Value;

use super::{
    Shared, arg,
    groups::group_names,
    lease, record,
    reply::{self, list, number, odd},
    scan::members,
    scripts,
};
use crate::{
    job::{JobId, JobRecord, QueueName, State, Timestamp},
    store::{Census, QueueCensus, Result, redis::link::field},
};

/// The most jobs of one script.
pub(super) const FETCHED: usize = 100;
/// The most sets that one script adds up.
const NAMES: usize = 500;

pub(in super::super) async fn get(store: &Shared, id: &JobId) -> Result<Option<JobRecord>> {
    lease::know_the_clock(store).await?;
    for queue in store.all_queues().await? {
        if let Some((record, _)) = fetch(store, &queue, &[id.to_string()]).await?.pop().flatten() {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// The records of these jobs and their places, in their order; none for one that is not there.
pub(super) async fn fetch(store: &Shared, queue: &QueueName, ids: &[String]) -> Result<Vec<Option<(JobRecord, i64)>>> {
    let args = std::iter::once(arg(ids.len())).chain(ids.iter().map(arg));
    let mut answer = list(store.on(queue, &scripts::FETCH, args).await?)?.into_iter();
    let mut next = || answer.next().ok_or_else(|| odd("jobs"));
    let (now, steady) = (Timestamp::from_micros(number(&next()?)?), number(&next()?)?);
    let shown = |row| match row {
        Value::Int(_) => Ok(None),
        row => record::record(row, now, steady).map(Some),
    };
    answer.map(shown).collect()
}

pub(in super::super) async fn census(store: &Shared) -> Result<Census> {
    let mut census = Census { now: store.env.wall(), ..Census::default() };
    for name in store.all_queues().await? {
        let counted = census_of(store, &name).await?;
        census.now = counted.now;
        census.removed += counted.removed;
        let Counted { by_state, oldest_pending, paused, .. } = counted;
        census.queues.push(QueueCensus { name, paused, by_state, oldest_pending });
    }
    // What Go brought in is counted from when it is there, so the sum always holds.
    census.enqueued = census.removed + census.queues.iter().flat_map(|queue| queue.by_state).sum::<u64>();
    Ok(census)
}

/// What one queue holds.
pub(super) struct Counted {
    now: Timestamp,
    removed: u64,
    paused: bool,
    pub(super) by_state: [u64; 9],
    oldest_pending: Option<Timestamp>,
}

pub(super) async fn census_of(store: &Shared, queue: &QueueName) -> Result<Counted> {
    let answer = list(store.on(queue, &scripts::CENSUS, []).await?)?;
    let numbers = answer.iter().map(number).collect::<Result<Vec<_>>>()?;
    let [now, removed, paused, states @ .., oldest, many_lines, many_groups] = numbers.as_slice() else {
        return Err(odd("a census"));
    };
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let mut by_state = [0; 9];
    by_state.iter_mut().zip(states).for_each(|(to, from)| *to = count(*from));
    if *many_lines == 1 {
        by_state[usize::from(State::Pending.code())] += sizes(store, queue, &line_names(store, queue).await?).await?;
    }
    if *many_groups == 1 {
        let names: Vec<_> = group_names(store, queue).await?.iter().map(|name| format!("g:{name}")).collect();
        by_state[usize::from(State::Aggregating.code())] = sizes(store, queue, &names).await?;
    }
    let oldest_pending = (by_state[0] > 0 && *oldest != -1).then(|| Timestamp::from_micros(*oldest));
    let now = Timestamp::from_micros(*now);
    Ok(Counted { now, removed: count(*removed), paused: *paused == 1, by_state, oldest_pending })
}

/// Adds up sets of which there are too many for one step: what moves meanwhile may be counted twice or not at all.
async fn sizes(store: &Shared, queue: &QueueName, names: &[String]) -> Result<u64> {
    let mut sum = 0;
    for chunk in names.chunks(NAMES) {
        let args = std::iter::once(arg(chunk.len())).chain(chunk.iter().map(arg));
        sum += u64::try_from(number(&store.on(queue, &scripts::SIZES, args).await?)?).unwrap_or(0);
    }
    Ok(sum)
}

/// The names of the lines of ours, behind the queue's prefix.
async fn line_names(store: &Shared, queue: &QueueName) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (line, set) in [("line", "lines"), ("suspect", "suspects")] {
        names.extend(members(store, queue, set).await?.into_iter().map(|kind| format!("x:{line}:{kind}")));
    }
    Ok(names)
}

/// The CPU time of the server.
pub(in super::super) async fn cpu(store: &Shared) -> Result<Option<Duration>> {
    let mut ask = redis::cmd("INFO");
    ask.arg("cpu");
    Ok(used_cpu(&reply::text(store.link.run(&ask).await?)?))
}

/// None: this server does not say.
fn used_cpu(info: &str) -> Option<Duration> {
    let seconds = |name| field(info, name)?.parse::<f64>().ok();
    Duration::try_from_secs_f64(seconds("used_cpu_user")? + seconds("used_cpu_sys")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_the_server_is_that_of_user_and_system() {
        let info = "# CPU\r\nused_cpu_sys:0.25\r\nused_cpu_user:1.5\r\nused_cpu_sys_children:7.0\r\n";
        assert_eq!(used_cpu(info), Some(Duration::from_millis(1750)));
        assert_eq!(used_cpu("# CPU\r\nused_cpu_sys:0.25\r\n"), None);
        assert_eq!(used_cpu(""), None);
    }
}
