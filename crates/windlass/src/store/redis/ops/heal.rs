//! Puts right what stands where it should not, a stretch at a time, and clears what is left of queues that Go has
//! deleted. Part of each sweep for what has expired.

use std::{collections::BTreeSet, sync::Arc};

use tracing::debug;

use super::{
    Shared, arg,
    enqueue::register,
    reply::{list, number, odd, text},
    scripts,
};
use crate::{job::QueueName, store::Result};

/// The most entries of one step, and the most steps by which one sweep clears a deleted queue.
const MOST: u32 = 500;
const STEPS: u32 = 20;

/// The most looks of one sweep at what is over, of a server, and of a client that has brought in jobs.
const LOOKS: usize = 400;
const LOOKS_OF_CLIENT: usize = 2;

/// Looks through the order in which jobs came in, as far as nobody has yet, and drops what is gone.
pub(super) async fn tidy(store: &Shared, queue: &QueueName) -> Result<()> {
    tidy_up_to(store, queue, LOOKS).await
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

/// Puts the next stretch of each set of a queue right, and goes on while there is much to put right.
pub(super) async fn heal(store: &Shared, queue: &QueueName) -> Result<()> {
    for _ in 0..LOOKS {
        let answer = list(store.on(queue, &scripts::HEAL, [arg(MOST)]).await?)?;
        let [top, healed] = answer.as_slice() else { return Err(odd("a healing")) };
        store.note_top(number(top)?);
        if number(healed)? > 0 {
            debug!(queue = queue.as_str(), entries = number(healed)?, "what stood where it should not was put right");
        }
        if number(healed)? < i64::from(MOST / 10) {
            break;
        }
    }
    Ok(())
}

/// Go's inspector deletes a queue with what Asynq knows of it. What is left of one that has nothing to run or redrive is
/// cleared, a few steps at a time; one that has is a queue again, as it is when a client enqueues into it.
pub(super) async fn clear_deleted_queues(store: &Shared) -> Result<()> {
    let names = format!("{}queues", store.store_key());
    let now: BTreeSet<_> = store.all_queues().await?.into_iter().collect();
    let mut ask = redis::cmd("SMEMBERS");
    ask.arg(&names);
    let known = list(store.link.run(&ask).await?)?.into_iter().map(text).collect::<Result<BTreeSet<_>>>()?;
    let note = |command: &str, queue: &str| {
        let mut note = redis::cmd(command);
        note.arg(&names).arg(queue);
        note
    };
    for queue in now.iter().filter(|queue| !known.contains(queue.as_str())) {
        // A full Redis takes it not; a later sweep notes it.
        if let Err(error) = store.link.run(&note("SADD", queue.as_str())).await {
            debug!(%error, queue = queue.as_str(), "a queue is not noted yet");
            break;
        }
    }
    for queue in known.into_iter().map(QueueName::trusted).filter(|queue| !now.contains(queue)) {
        for _ in 0..STEPS {
            let left = number(&store.on(&queue, &scripts::GONE, [arg(MOST)]).await?)?;
            if left == 0 {
                register(store, &queue).await?;
            } else if left == 2 {
                store.link.run(&note("SREM", queue.as_str())).await?;
            }
            if left != 1 {
                break;
            }
        }
    }
    Ok(())
}
