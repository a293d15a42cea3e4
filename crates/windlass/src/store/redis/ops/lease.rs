//! Keeps leases and takes those that lapsed. The steady clock and the pulse are the whole store's; leases stand with
//! their queue.

use std::{collections::BTreeMap, time::Duration};

use redis::Value;
use tracing::debug;

use super::{
    Shared, arg, encode,
    enqueue::look,
    finish::carry,
    reply::{bytes, list, number, odd, text},
    scripts,
};
use crate::{
    job::{Fence, JobId, Lease, QueueName, State, micros},
    store::{ExtendRequest, RescueRules, Rescued, RescuedJob, Result},
};

const MOST: usize = 500;
/// The most jobs that one script rescues: Redis serves nobody else meanwhile.
const STEP: usize = 50;
/// The most steps of one recovery of a queue; the next recovery goes on.
const ROUNDS: usize = 80;

/// Stamps the store (or, with a lease of zero, only looks at its clock); says whether lapsed leases may be taken.
pub(super) async fn pulse(store: &Shared, lease: Duration, ran_late: bool) -> Result<bool> {
    let start = store.clock.start(&store.link.open().await?.start);
    let (at, args) = store.clock.pulse(&start, lease, ran_late);
    let answer = list(store.on_store(&scripts::PULSE, args).await?)?;
    let [wall, offset, may_rescue] = answer.as_slice() else { return Err(odd("a pulse")) };
    store.clock.learn(at, number(wall)?, number(offset)?, start);
    let may_rescue = number(may_rescue)? == 1;
    store.calm.may_rescue(may_rescue);
    Ok(may_rescue)
}

/// Sees to it that this process knows the steady clock of this start of Redis.
pub(super) async fn know_the_clock(store: &Shared) -> Result<()> {
    let start = store.clock.start(&store.link.open().await?.start);
    if store.clock.is_unknown(&start) {
        pulse(store, Duration::ZERO, false).await?;
    }
    Ok(())
}

/// The same, and as of just now.
pub(super) async fn know_the_clock_well(store: &Shared) -> Result<()> {
    let start = store.clock.start(&store.link.open().await?.start);
    if store.clock.is_old(&start) {
        pulse(store, Duration::ZERO, false).await?;
    }
    Ok(())
}

/// In which queue each job stands: as this process claimed it, else wherever it is found.
pub(super) async fn locate(store: &Shared, ids: impl Iterator<Item = &JobId>) -> Result<Vec<Option<QueueName>>> {
    let ids: Vec<&JobId> = ids.collect();
    let mut found: Vec<Option<QueueName>> = {
        let held = store.held.lock();
        ids.iter().map(|id| held.get(*id).map(|held| held.queue.clone())).collect()
    };
    if found.iter().all(Option::is_some) {
        return Ok(found);
    }
    for queue in store.all_queues().await? {
        let missing: Vec<usize> = (0..ids.len()).filter(|at| found[*at].is_none()).collect();
        for chunk in missing.chunks(MOST) {
            let asked = chunk.iter().map(|at| [arg(ids[*at]), Vec::new(), Vec::new()]);
            for (at, there) in std::iter::zip(chunk, look(store, &queue, asked).await?) {
                found[*at] = there.map(|_| queue.clone());
            }
        }
    }
    Ok(found)
}

pub(in super::super) async fn extend(store: &Shared, request: &ExtendRequest) -> Result<Vec<Lease>> {
    pulse(store, request.lease, request.ran_late).await?;
    let queues = locate(store, request.leases.iter().map(|lease| &lease.id)).await?;
    let mut lost = Vec::new();
    let mut named: BTreeMap<QueueName, Vec<&Lease>> = BTreeMap::new();
    for (lease, queue) in std::iter::zip(&request.leases, queues) {
        match queue {
            Some(queue) => named.entry(queue).or_default().push(lease),
            None => lost.push(lease.clone()),
        }
    }
    for (queue, leases) in named {
        for chunk in leases.chunks(MOST) {
            let mut args = vec![arg(micros(request.lease)), arg(chunk.len())];
            args.extend(chunk.iter().flat_map(|lease| [arg(&lease.id), arg(lease.fence)]));
            let answers = list(store.on(&queue, &scripts::EXTEND, args).await?)?;
            for (lease, answer) in std::iter::zip(chunk, answers) {
                if number(&answer)? == 0 {
                    lost.push((*lease).clone());
                }
            }
        }
    }
    let mut held = store.held.lock();
    for lease in &lost {
        // Found elsewhere again if it is asked for once more, or claimed anew.
        held.remove(&lease.id);
    }
    Ok(lost)
}

pub(in super::super) async fn rescue(store: &Shared, rules: &RescueRules) -> Result<Rescued> {
    let may_rescue = pulse(store, rules.lease, rules.ran_late).await?;
    let queues = store.all_queues().await?;
    let mut rescued = Rescued::default();
    for queue in queues {
        if let Err(error) = carry(store, &queue).await {
            // What cannot be carried now (there may be no memory for a new queue) keeps nobody from being rescued.
            debug!(%error, queue = queue.as_str(), "follow-up jobs for another queue wait for the next sweep");
        }
        if !may_rescue {
            continue;
        }
        let mut swept = rescue_from(store, &queue, rules, &mut rescued).await;
        if swept.is_ok() {
            swept = recover(store, &queue).await;
        }
        if let Err(error) = swept {
            store.pass_over(&queue, error)?;
        }
    }
    if !rescued.jobs.is_empty() {
        store.waker.wake();
    }
    Ok(rescued)
}

/// Takes over what Go left behind, and makes room among the archived.
async fn recover(store: &Shared, queue: &QueueName) -> Result<()> {
    for _ in 0..ROUNDS {
        let answer = list(store.on(queue, &scripts::RECOVER, [arg(2 * STEP)]).await?)?;
        let [_, more] = answer.as_slice() else { return Err(odd("a recovery")) };
        if number(more)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Takes what has lapsed in one queue, a step at a time, up to the rules' limit over all queues.
async fn rescue_from(store: &Shared, queue: &QueueName, rules: &RescueRules, rescued: &mut Rescued) -> Result<()> {
    loop {
        let left = (rules.limit as usize).saturating_sub(rescued.jobs.len()).min(MOST);
        let looked = list(store.on(queue, &scripts::RESCUE, [arg(0), arg(0), arg(0)]).await?)?;
        if number(looked.first().ok_or_else(|| odd("a rescue"))?)? == 0 {
            break;
        }
        if left == 0 {
            rescued.more = true;
            break;
        }
        let first = rescued.jobs.len();
        let mut named = match rescue_step(store, queue, rules, left, &[]).await? {
            Step::Taken(jobs) => {
                rescued.jobs.extend(jobs);
                Vec::new()
            }
            Step::Named(ids) => ids,
        };
        // The last of them go first to the front of the line, so that the first end up before them.
        while !named.is_empty() {
            let ids = named.split_off(named.len().saturating_sub(STEP));
            match rescue_step(store, queue, rules, left, &ids).await? {
                Step::Taken(jobs) => drop(rescued.jobs.splice(first..first, jobs)),
                Step::Named(_) => return Err(odd("a rescue")),
            }
        }
    }
    Ok(())
}

/// What `lua/rescue.lua` answers.
enum Step {
    Taken(Vec<RescuedJob>),
    /// So many have lapsed that they are only named; to be handed back a few at a time.
    Named(Vec<Vec<u8>>),
}

async fn rescue_step(
    store: &Shared,
    queue: &QueueName,
    rules: &RescueRules,
    window: usize,
    ids: &[Vec<u8>],
) -> Result<Step> {
    let args = [arg(window), arg(STEP), arg(rules.poison_after)].into_iter().chain(ids.iter().cloned());
    let mut answer = list(store.on(queue, &scripts::RESCUE, args).await?)?.into_iter();
    if number(&answer.next().ok_or_else(|| odd("a rescue"))?)? == 0 {
        return Ok(Step::Named(answer.map(bytes).collect::<Result<_>>()?));
    }
    let taken = answer.filter_map(|job| match rescued_job(queue, job) {
        Ok(job) => Some(job),
        Err(error) => {
            // It is back in line all the same.
            debug!(%error, queue = queue.as_str(), "a rescued job cannot be told of");
            None
        }
    });
    Ok(Step::Taken(taken.collect()))
}

fn rescued_job(queue: &QueueName, answer: Value) -> Result<RescuedJob> {
    let [id, kind, fence, attempt, code] = <[_; 5]>::try_from(list(answer)?).map_err(|_| odd("a rescued job"))?;
    let state = u8::try_from(number(&code)?).ok().and_then(State::from_code).ok_or_else(|| odd("a state"))?;
    Ok(RescuedJob {
        id: encode::id(&text(id)?)?,
        kind: text(kind)?.into(),
        queue: queue.clone(),
        fence: Fence(text(fence)?.parse().map_err(|_| odd("a fence"))?),
        attempt: u32::try_from(number(&attempt)?).unwrap_or(0),
        state,
    })
}
