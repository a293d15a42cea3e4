//! The log of wishes to cancel. Go's workers hear of them by Asynq's channel.

use super::{
    Shared, arg, encode,
    reply::{list, number, odd, text},
    scripts,
};
use crate::{
    job::{Fence, Lease},
    store::{CancelLog, CancelWish, Result},
};

pub(super) async fn add(store: &Shared, lease: &Lease, reason: &str) -> Result<()> {
    let args = vec!["add".into(), arg(&lease.id), arg(lease.fence), reason.into()];
    store.on_store(&scripts::CANCELS, args).await?;
    let mut tell = redis::cmd("PUBLISH");
    tell.arg(store.plain_key("cancel")).arg(lease.id.to_string());
    store.link.run(&tell).await.map(drop)
}

/// Go's inspector asks for a task to be cancelled. If a server of ours runs it, it hears of it by our log; Go says
/// "context canceled" of such a run.
pub(in super::super) async fn by_go(store: &Shared, id: &str) -> Result<()> {
    let id = encode::id(id)?;
    let held = store.held.lock().get(&id).map(|held| held.queue.clone());
    let Some(queue) = held else { return Ok(()) };
    let fence = text(store.on(&queue, &scripts::GOS_CANCEL, [arg(&id)]).await?)?;
    if fence.is_empty() {
        return Ok(());
    }
    let args = vec!["add".into(), arg(&id), fence.into_bytes(), "context canceled".into()];
    store.on_store(&scripts::CANCELS, args).await.map(drop)
}

pub(in super::super) async fn read(store: &Shared, after: Option<u64>) -> Result<CancelLog> {
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    let answer = list(store.on_store(&scripts::CANCELS, vec!["read".into(), after.into_bytes()]).await?)?;
    let mut answer = answer.into_iter();
    let last = number(&answer.next().ok_or_else(|| odd("a log"))?)?;
    let mut log = CancelLog { wishes: Vec::new(), last: u64::try_from(last).unwrap_or(0) };
    while let (Some(id), Some(fence), Some(reason)) = (answer.next(), answer.next(), answer.next()) {
        let fence = Fence(text(fence)?.parse().map_err(|_| odd("a fence"))?);
        let lease = Lease { id: encode::id(&text(id)?)?, fence };
        log.wishes.push(CancelWish { lease, reason: text(reason)?.into() });
    }
    Ok(log)
}
