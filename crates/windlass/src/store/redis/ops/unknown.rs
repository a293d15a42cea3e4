//! The burial of jobs whose kind nobody handles. Asynq keeps no count by kind, so what stands in a queue is looked through:
//! a bounded stretch at each sweep, for all kinds in the same look, and the next sweep goes on.

use std::{collections::BTreeSet, time::Duration};

use redis::Value;

use super::{
    Shared, arg, cluster,
    reply::{list, number, odd, text},
    scan::{self, Spot, ask_members},
    scripts,
};
use crate::{
    job::{KindFilter, QueueName, micros},
    store::{Result, SERVER_SILENT_AFTER, ServerInfo, redis::queues::Call},
};

/// The most looks of one sweep at one queue, each at 500 entries at most; how many first looks go in one round trip.
const LOOKS: usize = 10;
const LOOKS_TOGETHER: usize = 20;
/// How many queues are asked for what they know of kinds in one round trip.
const TOGETHER: usize = 100;
/// The most kinds of which jobs are buried in one sweep of a queue.
const KINDS: usize = 200;

/// How far the looks of this process have come in one queue. They go round through all that is not at its end.
#[derive(Default)]
pub(in super::super) struct Round {
    /// Where the next look begins.
    spot: Spot,
    /// The kinds that were seen in this round, and by how many sweeps before this one.
    seen: BTreeSet<String>,
    sweeps: u32,
    /// The kinds that were seen in the last round.
    before: Option<BTreeSet<String>>,
}

impl Round {
    /// Whether no job of a kind is there, at the end of a round. What moves on while several sweeps go through may be
    /// missed by one round.
    fn is_gone(&self, kind: &str) -> bool {
        let gone_before = self.before.as_ref().is_some_and(|seen| !seen.contains(kind));
        !self.seen.contains(kind) && (self.sweeps == 0 || gone_before)
    }

    fn begin_again(&mut self) {
        *self = Self { before: Some(std::mem::take(&mut self.seen)), ..Self::default() };
    }
}

/// The kinds of a queue that nobody declares, and for how long.
struct Unknown {
    queue: QueueName,
    kinds: Vec<(String, Duration)>,
}

impl Unknown {
    /// Those that have been unknown for long enough, as far as one look takes them.
    fn due(&self, after: Duration) -> Vec<&str> {
        let due = self.kinds.iter().filter(|(_, unknown)| *unknown >= after);
        due.map(|(kind, _)| kind.as_str()).take(KINDS).collect()
    }
}

/// What a sweep buries: how long a kind must have been unknown, and how many more.
struct Sweep {
    after: Duration,
    left: u32,
}

pub(in super::super) async fn sweep_unknown(store: &Shared, after: Duration, limit: u32) -> Result<u32> {
    let seen = cluster::servers(store, true).await?;
    if seen.live.is_empty() {
        return Ok(0);
    }
    // A sweep that comes late (nobody was there to sweep) counts for little.
    let elapsed = seen.elapsed.min(SERVER_SILENT_AFTER * 4);
    let mut sweep = Sweep { after, left: limit };
    let unknown = unknown_kinds(store, &seen.live, elapsed).await?;
    look_through(store, unknown, &mut sweep).await?;
    let buried = limit - sweep.left;
    if buried > 0 {
        store.waker.wake();
    }
    Ok(buried)
}

/// Whether any of the live servers may handle a kind of a queue: one of ours says so, one of Go's may handle any.
struct Declared<'s> {
    ours: Vec<(&'s ServerInfo, KindFilter)>,
    gos: BTreeSet<String>,
}

impl<'s> Declared<'s> {
    fn by(live: &'s [ServerInfo], gos: BTreeSet<String>) -> Self {
        let kinds = |server: &ServerInfo| KindFilter::of(server.kinds.iter().map(String::as_str)).unwrap_or_default();
        Self { ours: live.iter().map(|server| (server, kinds(server))).collect(), gos }
    }

    fn has(&self, queue: &QueueName, kind: &str) -> bool {
        let mut here = self.ours.iter().filter(|(server, _)| server.queues.iter().any(|(name, _)| name == queue));
        self.gos.contains(queue.as_str()) || here.any(|(_, kinds)| kinds.rule_for(kind).is_some())
    }
}

/// The kinds of each queue that nobody declares, and for how long. The time of those that somebody does begins again.
async fn unknown_kinds(store: &Shared, live: &[ServerInfo], elapsed: Duration) -> Result<Vec<Unknown>> {
    let queues = store.all_queues().await?;
    let asked = queues.iter().map(|queue| ask_members(store, queue, "kinds"));
    let mut answers = store.link.run_all(cluster::ask_listed(store).into_iter().chain(asked)).await?.into_iter();
    let mut next = || answers.next().ok_or_else(|| odd("kinds"));
    let (listed, ours) = (next()??, next()??);
    let declared = Declared::by(live, cluster::served_by_go(store, listed, ours).await?);
    let (mut calls, mut kinds_of) = (Vec::new(), Vec::new());
    for (queue, kinds) in std::iter::zip(queues, answers) {
        let kinds = kinds.and_then(|kinds| list(kinds)?.into_iter().map(text).collect::<Result<Vec<_>>>());
        match kinds {
            Ok(kinds) if kinds.is_empty() => {}
            Ok(kinds) => {
                let counted: Vec<_> = kinds.iter().map(|kind| !declared.has(&queue, kind)).collect();
                let of_kind = |(kind, counts): (&String, &bool)| [arg(kind), arg(u8::from(*counts))];
                let args = std::iter::zip(&kinds, &counted).flat_map(of_kind);
                let args = [arg(micros(elapsed)), arg(kinds.len())].into_iter().chain(args).collect();
                calls.push((queue, args));
                kinds_of.push(std::iter::zip(kinds, counted).collect());
            }
            Err(error) => store.pass_over(&queue, error)?,
        }
    }
    add_up(store, calls, kinds_of).await
}

/// Adds the time of each kind that counts, and gives those that do.
async fn add_up(store: &Shared, calls: Vec<Call>, kinds_of: Vec<Vec<(String, bool)>>) -> Result<Vec<Unknown>> {
    let mut unknown = Vec::new();
    let answers = store.on_each(&scripts::UNDECLARED, calls, TOGETHER).await?;
    for ((queue, sums), kinds) in std::iter::zip(answers, kinds_of) {
        match sums.and_then(|sums| list(sums)?.iter().map(number).collect::<Result<Vec<_>>>()) {
            Ok(sums) => {
                let span = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
                let counted = std::iter::zip(kinds, sums).filter(|((_, counts), _)| *counts);
                let kinds: Vec<_> = counted.map(|((kind, _), sum)| (kind, span(sum))).collect();
                if kinds.is_empty() {
                    store.rounds.lock().remove(&queue);
                } else {
                    unknown.push(Unknown { queue, kinds });
                }
            }
            Err(error) => store.pass_over(&queue, error)?,
        }
    }
    Ok(unknown)
}

/// Looks at the next stretches of queues: buries what has waited for long enough of the kinds that have been unknown for
/// long enough, and forgets kinds that have no job there any more. Small queues are looked through by the first look.
async fn look_through(store: &Shared, unknown: Vec<Unknown>, sweep: &mut Sweep) -> Result<()> {
    let first_look = |unknown: &Unknown| {
        let spot = store.rounds.lock().get(&unknown.queue).map(|round| round.spot.clone()).unwrap_or_default();
        (unknown.queue.clone(), scan::look(&spot, scan::FEW, sweep.after, &unknown.due(sweep.after)))
    };
    let calls = unknown.iter().map(first_look).collect();
    let answers = store.on_each(&scripts::SCAN, calls, LOOKS_TOGETHER).await?;
    for (unknown, (queue, answer)) in std::iter::zip(unknown, answers) {
        let looked = match answer {
            Ok(answer) => look_on(store, &unknown, answer, sweep).await,
            Err(error) => Err(error),
        };
        if let Err(error) = looked {
            store.pass_over(&queue, error)?;
        }
    }
    Ok(())
}

/// Goes on with a round, for as many looks as a sweep has.
async fn look_on(store: &Shared, unknown: &Unknown, mut answer: Value, sweep: &mut Sweep) -> Result<()> {
    let (queue, due) = (&unknown.queue, unknown.due(sweep.after));
    let mut round = store.rounds.lock().remove(queue).unwrap_or_default();
    for look in 1.. {
        let stretch = scan::read(answer)?;
        round.seen.extend(stretch.kinds);
        let buried = bury(store, queue, &due, &stretch.named, sweep).await?;
        let Some(next) = stretch.next else {
            let gone: Vec<_> = unknown.kinds.iter().map(|(kind, _)| kind).filter(|kind| round.is_gone(kind)).collect();
            forget(store, queue, &gone).await?;
            round.begin_again();
            break;
        };
        round.spot = next.moved_up(buried);
        if look == LOOKS {
            round.sweeps += 1;
            break;
        }
        answer = store.on(queue, &scripts::SCAN, scan::look(&round.spot, scan::MOST, sweep.after, &due)).await?;
    }
    store.rounds.lock().insert(queue.clone(), round);
    Ok(())
}

/// Buries what was found; the script looks at each once more.
async fn bury(store: &Shared, queue: &QueueName, kinds: &[&str], ids: &[Vec<u8>], sweep: &mut Sweep) -> Result<u32> {
    if ids.is_empty() || sweep.left == 0 {
        return Ok(0);
    }
    let mut args = vec![arg(micros(sweep.after)), arg(sweep.left), arg(kinds.len())];
    args.extend(kinds.iter().map(|kind| kind.as_bytes().to_vec()));
    args.push(arg(ids.len()));
    args.extend(ids.iter().cloned());
    let answer = list(store.on(queue, &scripts::BURY, args).await?)?;
    let gone = number(answer.first().ok_or_else(|| odd("a burial"))?)?;
    let buried = u32::try_from(gone).unwrap_or(0).min(sweep.left);
    sweep.left -= buried;
    Ok(buried)
}

/// A kind without jobs is none of the queue's any more, and its time begins again.
async fn forget(store: &Shared, queue: &QueueName, kinds: &[&String]) -> Result<()> {
    if kinds.is_empty() {
        return Ok(());
    }
    let forget = ["SREM", "HDEL"].into_iter().zip(["kinds", "undeclared"]).map(|(command, key)| {
        let mut forget = redis::cmd(command);
        forget.arg(format!("{}x:{key}", store.queue_key(queue))).arg(kinds);
        forget
    });
    store.link.run_all(forget).await?.into_iter().try_for_each(|done| done.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(seen: &[&str], sweeps: u32, before: Option<&[&str]>) -> Round {
        let set = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
        Round { spot: Spot::default(), seen: set(seen), sweeps, before: before.map(set) }
    }

    #[test]
    fn a_kind_is_gone_that_one_sweep_through_all_did_not_see() {
        assert!(round(&["a"], 0, None).is_gone("b"));
        assert!(!round(&["a"], 0, None).is_gone("a"));
    }

    #[test]
    fn a_kind_is_gone_only_after_two_rounds_where_a_round_takes_several_sweeps() {
        assert!(!round(&["a"], 2, None).is_gone("b"));
        assert!(!round(&["a"], 2, Some(&["b"])).is_gone("b"));
        assert!(round(&["a"], 2, Some(&["a"])).is_gone("b"));
        let mut next = round(&["a"], 2, None);
        next.begin_again();
        next.sweeps = 1;
        assert!(next.is_gone("b") && !next.is_gone("a"));
    }
}
