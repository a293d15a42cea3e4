//! Which kinds still have jobs. Asynq keeps no count by kind, so jobs are looked through, a stretch at a time, until one is
//! found.

use std::time::Duration;

use redis::Value;

use super::{
    Shared, arg,
    groups::{group_names, infos},
    read::census,
    reply::{bytes, list, number, odd, text},
    scripts,
};
use crate::{
    job::{KindFilter, Pattern, QueueName, State, micros},
    store::Result,
};

/// The most entries of one look, and of one that goes together with others.
pub(super) const MOST: usize = 500;
pub(super) const FEW: usize = 100;

/// Where a look begins: a place as `lua/scan.lua` names it, and a rank. By default at the beginning.
#[derive(Clone, Default)]
pub(super) struct Spot {
    place: Vec<u8>,
    rank: usize,
}

impl Spot {
    /// The same once so many of those before it are gone.
    pub(super) fn moved_up(self, gone: u32) -> Self {
        Self { rank: self.rank.saturating_sub(gone as usize), ..self }
    }
}

/// What one look found.
pub(super) struct Stretch {
    /// Where the next look begins; none: this was the last.
    pub(super) next: Option<Spot>,
    /// The kinds that can be read.
    pub(super) kinds: Vec<String>,
    /// The ids that were asked for; see the script.
    pub(super) named: Vec<Vec<u8>>,
}

pub(in super::super) async fn outstanding(
    store: &Shared,
    queues: &[QueueName],
    kinds: &KindFilter,
    groups: &[Pattern],
) -> Result<u64> {
    let known = census(store).await?.queues;
    let mut sum = 0;
    for queue in known.iter().filter(|known| queues.contains(&known.name)) {
        let count = |state: State| queue.by_state[state.code() as usize];
        let all = [State::Pending, State::Running, State::Scheduled, State::Blocked, State::Retrying]
            .map(count)
            .iter()
            .sum::<u64>();
        if is_everything(kinds) {
            sum += all;
        } else if all > 0 && has_outstanding(store, &queue.name, kinds).await? {
            sum += 1;
        }
        if count(State::Aggregating) > 0 && aggregates(store, &queue.name, groups).await? {
            sum += 1;
        }
    }
    Ok(sum)
}

/// Whether any member waits in a group of these names.
async fn aggregates(store: &Shared, queue: &QueueName, groups: &[Pattern]) -> Result<bool> {
    let names = group_names(store, queue).await?;
    let named: Vec<_> = names.into_iter().filter(|name| groups.iter().any(|group| group.matches(name))).collect();
    Ok(!infos(store, queue, &named).await?.0.is_empty())
}

fn is_everything(kinds: &KindFilter) -> bool {
    kinds.rules.iter().any(|rule| matches!(&rule.pattern, Pattern::Prefix(prefix) if prefix.is_empty()))
}

/// Whether a queue has a job of these kinds that is not at its end: by one look where few jobs stand, and else by one
/// place after the other, twice, since a job may go from one that comes later to one that was looked at.
async fn has_outstanding(store: &Shared, queue: &QueueName, kinds: &KindFilter) -> Result<bool> {
    let rules = kinds.rules.iter().flat_map(|rule| match &rule.pattern {
        Pattern::Exact(kind) => ["=".into(), kind.as_bytes().to_vec()],
        Pattern::Prefix(prefix) => ["^".into(), prefix.as_bytes().to_vec()],
    });
    let args = std::iter::once(arg(kinds.rules.len())).chain(rules);
    match number(&store.on(queue, &scripts::OUTSTANDING, args).await?)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Ok(has_any(store, queue, kinds).await? || has_any(store, queue, kinds).await?),
    }
}

/// Whether a queue has a job of these kinds that is not at its end, as far as looks at one place after the other tell.
async fn has_any(store: &Shared, queue: &QueueName, kinds: &KindFilter) -> Result<bool> {
    let mut spot = Some(Spot::default());
    while let Some(from) = spot {
        let stretch = read(store.on(queue, &scripts::SCAN, look(&from, MOST, Duration::ZERO, &[])).await?)?;
        if stretch.kinds.iter().any(|kind| kinds.rule_for(kind).is_some()) {
            return Ok(true);
        }
        spot = stretch.next;
    }
    Ok(false)
}

/// What `lua/scan.lua` takes to look at the stretch from a spot on, and to name the jobs of some kinds that have stood in
/// line for so long.
pub(super) fn look(from: &Spot, many: usize, after: Duration, kinds: &[&str]) -> Vec<Vec<u8>> {
    let mut args = vec![from.place.clone(), arg(from.rank), arg(many), arg(micros(after))];
    args.extend(kinds.iter().map(|kind| kind.as_bytes().to_vec()));
    args
}

/// What it answers.
pub(super) fn read(answer: Value) -> Result<Stretch> {
    let [place, rank, kinds, named] = <[_; 4]>::try_from(list(answer)?).map_err(|_| odd("a look"))?;
    let next = Spot { place: bytes(place)?, rank: usize::try_from(number(&rank)?).unwrap_or(0) };
    Ok(Stretch {
        next: Some(next).filter(|next| !next.place.is_empty()),
        // Go lets a kind be any bytes; one that is no text is none of ours.
        kinds: list(kinds)?.into_iter().filter_map(|kind| text(kind).ok()).collect(),
        named: list(named)?.into_iter().map(bytes).collect::<Result<_>>()?,
    })
}

pub(super) async fn members(store: &Shared, queue: &QueueName, set: &str) -> Result<Vec<String>> {
    list(store.link.run(&ask_members(store, queue, set)).await?)?.into_iter().map(text).collect()
}

pub(super) fn ask_members(store: &Shared, queue: &QueueName, set: &str) -> redis::Cmd {
    let mut ask = redis::cmd("SMEMBERS");
    ask.arg(format!("{}x:{set}", store.queue_key(queue)));
    ask
}
