//! Applies reports: one script for each stretch of reports on the same queue's jobs. Jobs that follow into another
//! queue go through the outbox that the same script fills, and are carried on at once; what a carrier leaves behind
//! the sweeps carry.

use tracing::debug;

use super::{
    Shared, arg,
    encode::{self, VALUES},
    enqueue::{followers, look, register},
    lease::locate,
    reply::{bytes, list, number, odd, text},
    report::news,
    scripts,
};
use crate::{
    job::{ErrorEntry, QueueName, State, Verdict, micros},
    store::{Finish, Finished, Result},
};

const MOST: usize = 500;
/// The most letters that are carried at once.
const LETTERS: usize = 100;

pub(in super::super) async fn finish(store: &Shared, batch: Vec<Finish>) -> Result<Vec<Finished>> {
    let queues = locate(store, batch.iter().map(|finish| &finish.lease.id)).await?;
    let mut answers = Vec::with_capacity(batch.len());
    let mut at = 0;
    while at < batch.len() {
        let same = |other: &&Option<QueueName>| **other == queues[at];
        let end = at + queues[at..].iter().take(MOST).take_while(same).count();
        match &queues[at] {
            Some(queue) => answers.extend(finish_chunk(store, queue, &batch[at..end]).await?),
            None => answers.extend(std::iter::repeat_n(Finished::Stale, end - at)),
        }
        at = end;
    }
    store.waker.wake();
    Ok(answers)
}

async fn finish_chunk(store: &Shared, queue: &QueueName, batch: &[Finish]) -> Result<Vec<Finished>> {
    let mut args = vec![arg(batch.len())];
    for finish in batch {
        report(store, queue, finish, &mut args).await?;
    }
    let mut answers = list(store.on(queue, &scripts::FINISH, args).await?)?.into_iter().skip(1);
    let mut next = || answers.next().ok_or_else(|| odd("a finish"));
    store.note_top(number(&next()?)?);
    let mut finished = Vec::with_capacity(batch.len());
    for finish in batch {
        let code = number(&next()?)?;
        store.held.lock().remove(&finish.lease.id);
        finished.push(match u8::try_from(code).ok().and_then(State::from_code) {
            Some(state) => Finished::Applied(state),
            None => Finished::Stale,
        });
    }
    if number(&next()?)? > 0
        && let Err(error) = carry(store, queue).await
    {
        // The reports have been applied, and the sweeps carry what is left.
        debug!(%error, queue = queue.as_str(), "follow-up jobs for another queue wait for the next sweep");
    }
    Ok(finished)
}

async fn report(store: &Shared, queue: &QueueName, finish: &Finish, args: &mut Vec<Vec<u8>>) -> Result<()> {
    let (verdict, value, text) = match &finish.verdict {
        Verdict::Complete => ("complete", 0, ""),
        Verdict::RetryIn(wait) => ("retry", micros(*wait), ""),
        Verdict::Snooze(wait) => ("snooze", micros(*wait), ""),
        Verdict::Release => ("release", 0, ""),
        Verdict::Bury(reason) => ("bury", i64::from(*reason == crate::job::DeadReason::Exhausted), reason.as_str()),
        Verdict::Cancel(reason) => ("cancel", 0, &**reason),
    };
    args.extend([arg(&finish.lease.id), arg(finish.lease.fence), verdict.into(), arg(value), text.into()]);
    let entry = finish.error.as_ref().map(|error| {
        let class = serde_json::to_value(error.class).ok();
        let class = class.as_ref().and_then(|class| class.as_str()).unwrap_or("error").to_owned();
        (class, ErrorEntry::new(Default::default(), 0, error.class, &*error.message).message)
    });
    let (class, message) = entry.unwrap_or_default();
    args.extend([class.into_bytes(), message.into_bytes()]);
    args.extend([arg(u8::from(finish.result.is_some())), finish.result.as_deref().unwrap_or_default().to_vec()]);
    args.push(arg(micros(finish.ran)));
    args.push(arg(finish.news.len()));
    finish.news.iter().for_each(|said| args.extend(news(said)));
    let (here, there): (Vec<_>, Vec<_>) = finish.then.iter().cloned().partition(|job| job.spec.queue == *queue);
    args.push(arg(here.len()));
    if !here.is_empty() {
        args.extend(followers(store, queue, &here).await?.into_iter().flatten());
    }
    args.push(arg(there.len()));
    for job in &there {
        args.extend([job.spec.queue.as_str().into(), encode::letter(&encode::values(job)?)]);
    }
    Ok(())
}

/// Carries what stands in a queue's outbox to where it belongs, until nothing is left.
pub(super) async fn carry(store: &Shared, source: &QueueName) -> Result<()> {
    let (mut drop, mut target) = (0, String::new());
    loop {
        let args = [arg(LETTERS), arg(drop), target.into_bytes()];
        let mut answer = list(store.on(source, &scripts::OUTBOX, args).await?)?.into_iter();
        let Some(name) = answer.next() else { return Ok(()) };
        target = text(name)?;
        let mut letters = Vec::new();
        while let (Some(number_of), Some(letter)) = (answer.next(), answer.next()) {
            let letter = bytes(letter)?;
            let start = letter.iter().position(|byte| *byte == b':').ok_or_else(|| odd("a letter"))? + 1;
            letters.push((number(&number_of)?, encode::open_letter(&letter[start..])?));
        }
        drop = letters.last().map_or(0, |(number, _)| *number);
        if !letters.is_empty() {
            deliver(store, source, &QueueName::trusted(target.clone()), letters).await?;
        }
    }
}

async fn deliver(
    store: &Shared,
    source: &QueueName,
    target: &QueueName,
    mut letters: Vec<(i64, [Vec<u8>; VALUES])>,
) -> Result<()> {
    // Who is in the way in another queue is asked for here; in the target the script sees to it.
    for other in store.all_queues().await?.iter().filter(|other| *other != target) {
        let keys = letters.iter().map(|(_, values)| [values[0].clone(), values[5].clone(), values[6].clone()]);
        let looked = look(store, other, keys).await?;
        for ((_, values), found) in std::iter::zip(&mut letters, looked) {
            if found.is_some() {
                values[0].clear();
            }
        }
    }
    if letters.iter().any(|(_, values)| !values[0].is_empty()) {
        register(store, target).await?;
    }
    let mut args = vec![source.as_str().into(), arg(letters.len())];
    for (number, values) in letters {
        args.push(arg(number));
        args.extend(values);
    }
    let answer = list(store.on(target, &scripts::INBOX, args).await?)?;
    store.note_top(number(answer.get(1).ok_or_else(|| odd("a delivery"))?)?);
    store.waker.wake();
    Ok(())
}
