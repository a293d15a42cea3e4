//! Removes what retention lets go, queue by queue.

use std::time::Duration;

use redis::Value;
use tracing::debug;

use super::{
    Shared, arg, heal,
    reply::{list, number, odd},
    scripts,
};
use crate::{
    job::{QueueName, micros},
    store::{Prune, Pruned, Result},
};

/// The most jobs of one script: Redis serves nobody else meanwhile, and each costs it about ten microseconds.
const MOST: u64 = 50;
/// How many queues are looked at in one round trip, where there is little to do in each.
const TOGETHER: usize = 50;
/// How long a server's last claim is remembered, and that it left: longer than any call of it is under way.
const KEEP_CLAIMS: Duration = Duration::from_secs(24 * 3600);
const KEEP_LEFT: Duration = Duration::from_secs(60);

pub(in super::super) async fn prune(store: &Shared, what: &Prune, limit: u32) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    if *what == Prune::Expired {
        let now = store.env.monotonic();
        store.left.lock().retain(|_, at| now.since(*at) < KEEP_LEFT);
    }
    let forgetting = *what == Prune::Expired && time_to_forget(store);
    // Where nothing changes there is little to put right.
    let healing = forgetting || (*what == Prune::Expired && store.calm.queues(store.env.monotonic()).is_none());
    let queues = store.all_queues().await?;
    // One look at all of them: most have nothing to remove.
    for (queue, looked) in store.on_all(&scripts::PRUNE, &queues, &args(store, what, 0), TOGETHER).await? {
        let swept = match looked.and_then(removed_and_more) {
            Ok((_, true)) => prune_queue(store, &queue, what, limit, &mut pruned).await,
            other => other.map(drop),
        };
        if let Err(error) = swept {
            store.pass_over(&queue, error)?;
        }
    }
    if healing {
        heal::tidy(store, &queues).await?;
        heal::heal(store, &queues).await?;
    }
    if forgetting {
        let spans = [arg(micros(KEEP_CLAIMS)), arg(micros(KEEP_LEFT))];
        for (queue, forgotten) in store.on_all(&scripts::FORGET, &queues, &spans, TOGETHER).await? {
            if let Err(error) = forgotten {
                store.pass_over(&queue, error)?;
            }
        }
    }
    if healing {
        // What it notes may need memory that there is none of; it is no reason not to make room.
        if let Err(error) = super::locks::prune(store).await {
            debug!(%error, "names of locks that nobody uses were not looked for");
        }
        if let Err(error) = heal::clear_deleted_queues(store).await {
            debug!(%error, "what is left of deleted queues was not looked for");
        }
    }
    Ok(pruned)
}

/// Removes from one queue, up to the limit over all queues.
async fn prune_queue(store: &Shared, queue: &QueueName, what: &Prune, limit: u32, pruned: &mut Pruned) -> Result<()> {
    loop {
        let left = u64::from(limit).saturating_sub(pruned.removed).min(MOST);
        let (removed, more) = removed_and_more(store.on(queue, &scripts::PRUNE, args(store, what, left)).await?)?;
        pruned.removed += removed;
        if !more {
            return Ok(());
        }
        if pruned.removed >= u64::from(limit) {
            pruned.more = true;
            return Ok(());
        }
    }
}

/// What `lua/prune.lua` answers.
fn removed_and_more(answer: Value) -> Result<(u64, bool)> {
    let answer = list(answer)?;
    let [removed, more] = answer.as_slice() else { return Err(odd("a prune")) };
    Ok((u64::try_from(number(removed)?).unwrap_or(0), number(more)? == 1))
}

/// What is forgotten is small and harms nobody meanwhile, so it is not looked for each time.
fn time_to_forget(store: &Shared) -> bool {
    let (now, mut forgot) = (store.env.monotonic(), store.forgot.lock());
    let due = forgot.is_none_or(|at| now < at || now.since(at) >= KEEP_LEFT);
    if due {
        *forgot = Some(now);
    }
    due
}

fn args(store: &Shared, what: &Prune, limit: u64) -> Vec<Vec<u8>> {
    match what {
        Prune::Expired => vec!["expired".into(), arg(limit), arg(micros(store.address.keep_failed))],
        Prune::Older { than, states } => {
            let ended = [6, 7, 8].into_iter().filter(|code| states.iter().any(|state| state.code() == *code));
            let codes: String = ended.map(|code| code.to_string()).collect();
            vec!["older".into(), arg(limit), arg(micros(*than)), codes.into_bytes()]
        }
    }
}
