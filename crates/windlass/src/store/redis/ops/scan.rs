//! Which kinds still have jobs, and the burial of kinds that nobody handles. Asynq keeps no count by kind, so jobs are
//! looked through, a stretch at a time, until one is found.

use std::time::Duration;

use super::{
    Shared, arg, cluster,
    groups::{group_names, infos},
    read::census,
    reply::{list, number, odd, text},
    scripts,
};
use crate::{
    job::{KindFilter, Pattern, QueueName, State, micros},
    store::{Result, SERVER_SILENT_AFTER},
};

const MOST: usize = 500;

/// A place where jobs stand that are not at their end.
enum Container {
    Plain(&'static str),
    Line(&'static str, String),
}

struct Found {
    id: String,
    kind: String,
    since: i64,
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
        let all = [State::Pending, State::Running, State::Scheduled, State::Retrying].map(count).iter().sum::<u64>();
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
    let mut containers = lines(store, queue).await?;
    if containers.iter().any(|line| matches!(line, Container::Line(_, kind) if kinds.rule_for(kind).is_some())) {
        return Ok(true);
    }
    containers = ["pending", "active", "scheduled", "retry"].map(Container::Plain).into();
    for container in &containers {
        let mut from = 0;
        loop {
            let stretch = scan(store, queue, container, from).await?;
            if stretch.iter().any(|job| kinds.rule_for(&job.kind).is_some()) {
                return Ok(true);
            }
            if stretch.len() < MOST {
                break;
            }
            from += MOST;
        }
    }
    Ok(false)
}

/// The lines of ours that are not empty.
async fn lines(store: &Shared, queue: &QueueName) -> Result<Vec<Container>> {
    let mut lines = Vec::new();
    for (name, set) in [("line", "lines"), ("suspect", "suspects")] {
        let kinds = members(store, queue, set).await?;
        lines.extend(kinds.into_iter().map(|kind| Container::Line(name, kind)));
    }
    Ok(lines)
}

async fn members(store: &Shared, queue: &QueueName, set: &str) -> Result<Vec<String>> {
    let mut ask = redis::cmd("SMEMBERS");
    ask.arg(format!("{}x:{set}", store.queue_key(queue)));
    list(store.link.run(&ask).await?)?.into_iter().map(text).collect()
}

async fn scan(store: &Shared, queue: &QueueName, container: &Container, from: usize) -> Result<Vec<Found>> {
    let (name, kind) = match container {
        Container::Plain(name) => (*name, ""),
        Container::Line(name, kind) => (*name, kind.as_str()),
    };
    let args = [name.into(), kind.into(), arg(from), arg(MOST)];
    let mut answer = list(store.on(queue, &scripts::SCAN, args).await?)?.into_iter();
    let mut found = Vec::new();
    while let (Some(id), Some(kind), Some(since)) = (answer.next(), answer.next(), answer.next()) {
        found.push(Found { id: text(id)?, kind: text(kind)?, since: number(&since)? });
    }
    Ok(found)
}

pub(in super::super) async fn sweep_unknown(store: &Shared, after: Duration, limit: u32) -> Result<u32> {
    let seen = cluster::servers(store, true).await?;
    if seen.live.is_empty() {
        return Ok(0);
    }
    // A sweep that comes late (nobody was there to sweep) counts for little.
    let elapsed = seen.elapsed.min(SERVER_SILENT_AFTER * 4);
    let servers: Vec<_> = seen
        .live
        .iter()
        .map(|server| (server, KindFilter::of(server.kinds.iter().map(String::as_str)).unwrap_or_default()))
        .collect();
    let mut buried = 0;
    for queue in store.all_queues().await? {
        let here = servers.iter().filter(|(server, _)| server.queues.iter().any(|(name, _)| *name == queue));
        let handled: Vec<&KindFilter> = here.map(|(_, kinds)| kinds).collect();
        let kinds = members(store, &queue, "kinds").await?;
        for (kind, undeclared) in undeclared(store, &queue, kinds, &handled, elapsed).await? {
            if undeclared >= after && buried < limit {
                buried += bury(store, &queue, &kind, after, seen.now, limit - buried).await?;
            }
        }
    }
    Ok(buried)
}

/// Adds up the time of each kind that nobody declares, and gives the sums. A kind without jobs is forgotten.
async fn undeclared(
    store: &Shared,
    queue: &QueueName,
    kinds: Vec<String>,
    handled: &[&KindFilter],
    elapsed: Duration,
) -> Result<Vec<(String, Duration)>> {
    let mut args = Vec::new();
    let mut counted = Vec::new();
    for kind in kinds {
        let declared = handled.iter().any(|filter| filter.rule_for(&kind).is_some());
        let of_it = KindFilter::of([kind.as_str()]).unwrap_or_default();
        let there = !declared && has_any(store, queue, &of_it).await?;
        if !declared && !there {
            let mut forget = redis::cmd("SREM");
            forget.arg(format!("{}x:kinds", store.queue_key(queue))).arg(&kind);
            store.link.run(&forget).await?;
        }
        args.extend([arg(&kind), arg(u8::from(there))]);
        counted.push((kind, there));
    }
    if counted.is_empty() {
        return Ok(Vec::new());
    }
    let args = [arg(micros(elapsed)), arg(counted.len())].into_iter().chain(args);
    let sums = list(store.on(queue, &scripts::UNDECLARED, args).await?)?;
    let sum = |((kind, there), sum): ((String, bool), &redis::Value)| {
        let micros = u64::try_from(number(sum)?).unwrap_or(0);
        Ok(there.then_some((kind, Duration::from_micros(micros))))
    };
    let sums: Result<Vec<_>> = std::iter::zip(counted, &sums).map(sum).collect();
    Ok(sums?.into_iter().flatten().collect())
}

/// Buries what has stood in line for long enough; the script looks at each once more.
async fn bury(store: &Shared, queue: &QueueName, kind: &str, after: Duration, now: i64, limit: u32) -> Result<u32> {
    let mut containers = vec![Container::Plain("pending")];
    let own = |line: &Container| matches!(line, Container::Line(_, of) if of == kind);
    containers.extend(lines(store, queue).await?.into_iter().filter(own));
    let mut buried = 0;
    for container in &containers {
        let mut from = 0;
        while buried < limit {
            let stretch = scan(store, queue, container, from).await?;
            let old = |job: &&Found| job.kind == kind && now - job.since >= micros(after);
            let ids: Vec<_> = stretch.iter().filter(old).map(|job| arg(&job.id)).collect();
            if !ids.is_empty() {
                let head = [kind.into(), arg(micros(after)), arg(limit - buried), arg(ids.len())];
                let answer = list(store.on(queue, &scripts::BURY, head.into_iter().chain(ids)).await?)?;
                let gone = number(answer.first().ok_or_else(|| odd("a burial"))?)?;
                buried += u32::try_from(gone).unwrap_or(0);
            }
            if stretch.len() < MOST {
                break;
            }
            from += MOST;
        }
    }
    if buried > 0 {
        store.waker.wake();
    }
    Ok(buried)
}
