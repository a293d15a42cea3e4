//! Puts due jobs into line, the earliest first over all queues.

use std::time::Duration;

use super::{
    Shared, arg,
    reply::{list, number, odd},
    scripts,
};
use crate::{
    job::QueueName,
    store::{Promoted, Result},
};

/// The most jobs of one script: Redis serves nobody else meanwhile.
const MOST: u32 = 100;

pub(in super::super) async fn promote(store: &Shared, limit: u32) -> Result<Promoted> {
    let mut promoted = Promoted::default();
    let mut left = limit;
    loop {
        let round = promote_round(store, left.min(MOST)).await?;
        promoted.moved += round.moved;
        promoted.next_due = round.next_due;
        left -= round.moved.min(left);
        if left == 0 || round.moved == 0 || round.next_due != Some(Duration::ZERO) {
            break;
        }
    }
    if promoted.moved > 0 {
        store.waker.wake();
    }
    Ok(promoted)
}

/// Looks at every queue, and moves those that are due first: up to `limit`.
async fn promote_round(store: &Shared, limit: u32) -> Result<Promoted> {
    let mut promoted = Promoted::default();
    let (mut due, mut nexts) = (Vec::new(), Vec::new());
    for queue in store.all_queues().await? {
        match ask(store, &queue, limit, false).await {
            Ok(looked) => {
                due.extend(looked.due.into_iter().map(|first| (first, nexts.len())));
                nexts.push((queue, looked.next));
            }
            Err(error) => store.pass_over(&queue, error)?,
        }
    }
    due.sort_unstable();
    due.truncate(limit as usize);
    for (place, (queue, next)) in nexts.iter_mut().enumerate() {
        let share = due.iter().filter(|(_, of)| *of == place).count() as u32;
        if share > 0 {
            match ask(store, queue, share, true).await {
                Ok(moved) => {
                    promoted.moved += moved.moved;
                    *next = moved.next;
                }
                Err(error) => {
                    // It would be due at once, for ever.
                    *next = None;
                    store.pass_over(queue, error)?;
                }
            }
        }
    }
    promoted.next_due = nexts.into_iter().filter_map(|(_, next)| next).min();
    Ok(promoted)
}

struct Looked {
    moved: u32,
    next: Option<Duration>,
    /// When the due ones were due, and their places in the order of enqueueing.
    due: Vec<(i64, i64)>,
}

async fn ask(store: &Shared, queue: &QueueName, limit: u32, moving: bool) -> Result<Looked> {
    let answer = list(store.on(queue, &scripts::PROMOTE, [arg(limit), arg(u8::from(moving))]).await?)?;
    let [moved, next, due @ ..] = answer.as_slice() else { return Err(odd("a promotion")) };
    Ok(Looked {
        moved: u32::try_from(number(moved)?).unwrap_or(0),
        next: u64::try_from(number(next)?).ok().map(Duration::from_micros),
        due: due.chunks_exact(2).map(|due| Ok((number(&due[0])?, number(&due[1])?))).collect::<Result<_>>()?,
    })
}
