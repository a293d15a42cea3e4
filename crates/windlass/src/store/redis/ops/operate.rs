//! What operators do. The effect is decided here; the script applies it if the job still is as it was seen.

use redis::Value;

use super::{
    Shared, arg, cancel, encode,
    enqueue::look,
    lease::locate,
    read::fetch,
    reply::{list, number, odd, text},
    scripts,
};
use crate::{
    decide::operate::{Action, Effect, effect},
    job::{Fence, JobId, Lease, QueueName, Start, State, UniqueMode, micros},
    store::{Operated, Result},
};

pub(in super::super) async fn operate(store: &Shared, id: &JobId, action: &Action) -> Result<Operated> {
    // Not by what this process once claimed: the job may have been removed and come again in another queue.
    store.held.lock().remove(id);
    let Some(queue) = locate(store, std::iter::once(id)).await?.remove(0) else { return Ok(Operated::NotFound) };
    if matches!(action, Action::Redrive)
        && let Some((state, holder)) = held_elsewhere(store, &queue, id).await?
    {
        return Ok(Operated::Conflict { state, holder: Some(holder) });
    }
    let mut seen = State::Pending;
    loop {
        match attempt(store, &queue, id, action, seen).await? {
            Attempt::Done(operated) => {
                store.waker.wake();
                return Ok(operated);
            }
            Attempt::Other(state) if effect(action, state, false) == Effect::Conflict => {
                return Ok(Operated::Conflict { state, holder: None });
            }
            Attempt::Other(state) => seen = state,
        }
    }
}

/// The state of a job that could be redriven and whose key a job of another queue holds, and that job. In its own queue
/// the script sees to it.
async fn held_elsewhere(store: &Shared, queue: &QueueName, id: &JobId) -> Result<Option<(State, JobId)>> {
    let job = fetch(store, queue, &[id.to_string()]).await?.pop().flatten();
    let Some((job, _)) = job.filter(|(job, _)| matches!(job.state, State::Dead | State::Cancelled)) else {
        return Ok(None);
    };
    let Some(unique) = job.spec.unique.filter(|unique| unique.mode == UniqueMode::UntilDone) else { return Ok(None) };
    for other in store.all_queues().await?.iter().filter(|other| *other != queue) {
        let key = [Vec::new(), "u".into(), arg(unique.key)];
        if let Some(holder) = look(store, other, std::iter::once(key)).await?.pop().flatten() {
            return Ok(Some((job.state, holder.id().clone())));
        }
    }
    Ok(None)
}

enum Attempt {
    Done(Operated),
    /// It is in this state instead.
    Other(State),
}

async fn attempt(store: &Shared, queue: &QueueName, id: &JobId, action: &Action, seen: State) -> Result<Attempt> {
    let (name, text_of, start) = words(action);
    // An action that the guessed state does not allow is asked with a state that no job has, to learn the true one.
    let seen_code = if effect(action, seen, false) == Effect::Conflict { 99 } else { seen.code() };
    let args = [arg(id), arg(seen_code), name.into(), text_of, start.into()];
    let mut answer = list(store.on(queue, &scripts::OPERATE, args).await?)?.into_iter();
    let code = number(&answer.next().ok_or_else(|| odd("an operation"))?)?;
    let state =
        |value: &Value| u8::try_from(number(value)?).ok().and_then(State::from_code).ok_or_else(|| odd("a state"));
    Ok(match (code, answer.next()) {
        (-1, _) => Attempt::Done(Operated::NotFound),
        (-2, _) => Attempt::Done(Operated::Removed),
        (-3, Some(holder)) => {
            let holder = Some(encode::id(&text(holder)?)?);
            Attempt::Done(Operated::Conflict { state: seen, holder })
        }
        (-4, Some(other)) => Attempt::Other(state(&other)?),
        (4, Some(fence)) => {
            if let Action::Cancel { reason } = action {
                let fence = Fence(text(fence)?.parse().map_err(|_| odd("a fence"))?);
                cancel::add(store, &Lease { id: id.clone(), fence }, reason).await?;
            }
            Attempt::Done(Operated::Done(State::Running))
        }
        (code, _) => Attempt::Done(Operated::Done(state(&Value::Int(code))?)),
    })
}

fn words(action: &Action) -> (&'static str, Vec<u8>, &'static str) {
    match action {
        Action::Cancel { reason } => ("cancel", reason.as_bytes().to_vec(), ""),
        Action::Redrive => ("redrive", Vec::new(), ""),
        Action::Bury => ("bury", Vec::new(), ""),
        Action::Delete => ("delete", Vec::new(), ""),
        Action::RunNow => ("run", Vec::new(), ""),
        Action::Edit { payload } => ("edit", payload.to_vec(), ""),
        Action::Reschedule { start: Start::Now } => ("reschedule", Vec::new(), "n"),
        Action::Reschedule { start: Start::At(at) } => ("reschedule", arg(at.as_micros()), "a"),
        Action::Reschedule { start: Start::In(wait) } => ("reschedule", arg(micros(*wait)), "i"),
    }
}

pub(in super::super) async fn pause(store: &Shared, queue: &QueueName, paused: bool) -> Result<bool> {
    if !store.all_queues().await?.contains(queue) {
        return Ok(false);
    }
    store.on(queue, &scripts::PAUSE, [arg(u8::from(paused))]).await?;
    store.waker.wake();
    Ok(true)
}
