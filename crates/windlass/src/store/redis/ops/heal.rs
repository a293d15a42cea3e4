//! Puts right what stands where it should not, a stretch at a time, and clears what is left of queues that Go has
//! deleted. Part of each sweep for what has expired.

use std::{collections::BTreeSet, sync::Arc};

use redis::Value;
use tracing::debug;

use super::{
    Shared, arg,
    enqueue::register,
    reply::{list, number, odd},
    scripts,
};
use crate::{job::QueueName, store::Result};

/// The most entries of one step, and the most steps by which one sweep clears a deleted queue.
const MOST: u32 = 500;
const STEPS: u32 = 20;

/// The most looks of one sweep at what is over, of a server, and of a client that has brought in jobs.
const LOOKS: usize = 400;
const LOOKS_OF_CLIENT: usize = 2;
/// How many queues are looked at in one round trip.
const TOGETHER: usize = 5;
const TIDIED_TOGETHER: usize = 10;

/// Looks through the order in which jobs came in, as far as nobody has yet, and drops what is gone.
pub(super) async fn tidy(store: &Shared, queues: &[QueueName]) -> Result<()> {
    let young = store.on_all(&scripts::TIDY, queues, &[b"young".to_vec()], TIDIED_TOGETHER).await?;
    let old = store.on_all(&scripts::TIDY, queues, &[b"old".to_vec()], TIDIED_TOGETHER).await?;
    for ((queue, young), (_, old)) in std::iter::zip(young, old) {
        let tidied = match old.and(young).and_then(|more| number(&more)) {
            Ok(0) => Ok(()),
            Ok(_) => tidy_up_to(store, &queue, LOOKS - 1).await,
            Err(error) => Err(error),
        };
        if let Err(error) = tidied {
            store.pass_over(&queue, error)?;
        }
    }
    Ok(())
}

/// The same by a client, for a store in which only Go runs jobs: about once for each [`MOST`] jobs that it brings in, since
/// places are moments in microseconds. Each time it looks at as many that no look has reached yet, and more.
pub(super) fn tidy_at_times(store: &Arc<Shared>, queue: &QueueName, last_place: i64, jobs: usize) {
    if last_place.rem_euclid(i64::from(MOST)) >= i64::try_from(jobs).unwrap_or(i64::MAX) {
        return;
    }
    let mut wishes = store.tidying.lock();
    let wishes = wishes.entry(queue.clone()).or_default();
    *wishes += 1;
    if *wishes > 1 {
        return;
    }
    let (store, queue) = (store.clone(), queue.clone());
    store.env.clone().spawn(async move {
        loop {
            let wished = store.tidying.lock().get(&queue).copied().unwrap_or_default();
            if let Err(error) = tidy_up_to(&store, &queue, LOOKS_OF_CLIENT * wished).await {
                debug!(%error, queue = queue.as_str(), "what is over was not looked for");
            }
            let mut wishes = store.tidying.lock();
            let left = wishes.get(&queue).map_or(0, |now| now - wished);
            if left == 0 {
                wishes.remove(&queue);
                return;
            }
            wishes.insert(queue.clone(), left);
        }
    });
}

async fn tidy_up_to(store: &Shared, queue: &QueueName, looks: usize) -> Result<()> {
    for _ in 0..looks {
        let more = number(&store.on(queue, &scripts::TIDY, [b"young".to_vec()]).await?)?;
        store.on(queue, &scripts::TIDY, [b"old".to_vec()]).await?;
        if more == 0 {
            break;
        }
    }
    Ok(())
}

/// Puts the next stretch of each set of each queue right, and goes on where there is much to put right.
pub(super) async fn heal(store: &Shared, queues: &[QueueName]) -> Result<()> {
    for (queue, answer) in store.on_all(&scripts::HEAL, queues, &[arg(MOST)], TOGETHER).await? {
        let healed = match answer {
            Ok(first) => heal_on(store, &queue, first).await,
            Err(error) => Err(error),
        };
        if let Err(error) = healed {
            store.pass_over(&queue, error)?;
        }
    }
    Ok(())
}

async fn heal_on(store: &Shared, queue: &QueueName, mut answer: Value) -> Result<()> {
    for _ in 1..LOOKS {
        let healed = healed(store, queue, answer)?;
        if healed < i64::from(MOST / 10) {
            return Ok(());
        }
        answer = store.on(queue, &scripts::HEAL, [arg(MOST)]).await?;
    }
    healed(store, queue, answer).map(drop)
}

/// How much was put right.
fn healed(store: &Shared, queue: &QueueName, answer: Value) -> Result<i64> {
    let answer = list(answer)?;
    let [top, healed] = answer.as_slice() else { return Err(odd("a healing")) };
    store.note_top(number(top)?);
    let healed = number(healed)?;
    if healed > 0 {
        debug!(queue = queue.as_str(), entries = healed, "what stood where it should not was put right");
    }
    Ok(healed)
}

/// Go's inspector deletes a queue with what Asynq knows of it. What is left of one that has nothing to run or redrive is
/// cleared, a few steps at a time; one that has is a queue again, as it is when a client enqueues into it.
pub(super) async fn clear_deleted_queues(store: &Shared) -> Result<()> {
    let now: BTreeSet<_> = store.all_queues().await?.into_iter().collect();
    let mut ask = redis::cmd("SMEMBERS");
    ask.arg(names(store));
    let known = store.readable(store.link.run(&ask).await?)?;
    for queue in now.iter().filter(|queue| !known.contains(*queue)) {
        // A full Redis takes it not; a later sweep notes it.
        if let Err(error) = store.link.run(&note(store, "SADD", queue)).await {
            debug!(%error, queue = queue.as_str(), "a queue is not noted yet");
            break;
        }
    }
    for queue in known.into_iter().filter(|queue| !now.contains(queue)) {
        for _ in 0..STEPS {
            let left = number(&store.on(&queue, &scripts::GONE, [arg(MOST)]).await?)?;
            if left == 0 {
                register(store, &queue).await?;
            } else if left == 2 {
                store.link.run(&note(store, "SREM", &queue)).await?;
            }
            if left != 1 {
                break;
            }
        }
    }
    Ok(())
}

/// Where names of queues are noted beside Asynq's own list.
fn names(store: &Shared) -> String {
    format!("{}queues", store.store_key())
}

/// Notes a queue's name there, or takes it off.
pub(super) fn note(store: &Shared, command: &str, queue: &QueueName) -> redis::Cmd {
    let mut note = redis::cmd(command);
    note.arg(names(store)).arg(queue.as_str());
    note
}
