//! Single jobs and the counts.

use std::time::Duration;

use redis::Value;

use super::{
    Shared, arg, lease, record,
    reply::{self, list, number, odd},
    scripts,
};
use crate::{
    job::{JobId, JobRecord, QueueName, Timestamp},
    store::{Census, QueueCensus, Result, redis::link::field},
};

/// The most jobs of one script.
pub(super) const FETCHED: usize = 100;

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
    let [now, removed, paused, states @ .., oldest] = numbers.as_slice() else { return Err(odd("a census")) };
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let mut by_state = [0; 9];
    by_state.iter_mut().zip(states).for_each(|(to, from)| *to = count(*from));
    let oldest_pending = (by_state[0] > 0 && *oldest != -1).then(|| Timestamp::from_micros(*oldest));
    let now = Timestamp::from_micros(*now);
    Ok(Counted { now, removed: count(*removed), paused: *paused == 1, by_state, oldest_pending })
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
