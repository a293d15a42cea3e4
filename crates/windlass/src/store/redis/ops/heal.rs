//! Puts right what stands where it should not, a stretch at a time, and clears what is left of queues that Go has
//! deleted. Part of each sweep for what has expired.

use std::collections::BTreeSet;

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

/// Puts the next stretch of each set of a queue right.
pub(super) async fn heal(store: &Shared, queue: &QueueName) -> Result<()> {
    let answer = list(store.on(queue, &scripts::HEAL, [arg(MOST)]).await?)?;
    let [top, healed] = answer.as_slice() else { return Err(odd("a healing")) };
    store.note_top(number(top)?);
    if number(healed)? > 0 {
        debug!(queue = queue.as_str(), entries = number(healed)?, "what stood where it should not was put right");
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
