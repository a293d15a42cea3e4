//! Applies reports: one script for each stretch of reports on the same queue's jobs. Jobs that follow into another
//! queue go through the outbox that the same script fills, and are carried on at once; what a carrier leaves behind
//! the sweeps carry.

use std::collections::HashSet;

use redis::Value;
use tracing::debug;

use super::{
    Held, Shared, arg, encode,
    enqueue::{followers, look, register},
    lease::locate,
    pack::Pack,
    reply::{bytes, list, number, odd, text},
    report::news,
    scripts,
};
use crate::{
    job::{DeadReason, ErrorClass, ErrorEntry, JobSpec, QueueName, State, Verdict, micros},
    store::{Finish, Finished, Result, stats::slot_of},
};

/// The most jobs that one script touches for reports and followers. Those of one report come in with it or not at all,
/// however many.
const MOST: usize = 500;
/// The most letters that are carried at once.
const LETTERS: usize = 100;

pub(in super::super) async fn finish(store: &Shared, batch: Vec<Finish>) -> Result<Vec<Finished>> {
    let queues = locate(store, batch.iter().map(|finish| &finish.lease.id)).await?;
    let touched = touched(store, &batch);
    let mut answers = Vec::with_capacity(batch.len());
    let mut at = 0;
    while at < batch.len() {
        let mut entries = 0;
        let fits = |here: &usize| {
            entries += touched[*here];
            queues[*here] == queues[at] && (*here == at || entries <= MOST)
        };
        let end = at + (at..batch.len()).take_while(fits).count();
        match &queues[at] {
            Some(queue) => answers.extend(finish_chunk(store, queue, &batch[at..end]).await?),
            None => answers.extend(std::iter::repeat_n(Finished::Stale, end - at)),
        }
        at = end;
    }
    store.waker.wake();
    Ok(answers)
}

/// How many jobs each report touches: its own, the next with its exclusive key, its followers and the holders of their
/// keys.
fn touched(store: &Shared, batch: &[Finish]) -> Vec<usize> {
    let held = store.held.lock();
    let of = |spec: &JobSpec| 1 + usize::from(spec.exclusive.is_some());
    let one = |finish: &Finish| {
        let own = held.get(&finish.lease.id).map_or(2, |held| of(&held.spec));
        own + finish.then.iter().map(|job| of(&job.spec)).sum::<usize>()
    };
    batch.iter().map(one).collect()
}

/// The plain ones go by the short way, the others by the long one.
async fn finish_chunk(store: &Shared, queue: &QueueName, batch: &[Finish]) -> Result<Vec<Finished>> {
    let runs: Vec<Option<Vec<u8>>> = if in_any_order(batch) {
        let held = store.held.lock();
        batch.iter().map(|finish| held.get(&finish.lease.id).and_then(|held| plain_run(finish, held))).collect()
    } else {
        vec![None; batch.len()]
    };
    let plain: Vec<&Vec<u8>> = runs.iter().flatten().collect();
    let others: Vec<&Finish> =
        std::iter::zip(batch, &runs).filter(|(_, run)| run.is_none()).map(|(finish, _)| finish).collect();
    let mut completed = complete(store, queue, &plain).await?.into_iter();
    let mut reported = finish_others(store, queue, &others).await?.into_iter();
    let mut held = store.held.lock();
    let answer = |(finish, run): (&Finish, &Option<Vec<u8>>)| {
        held.remove(&finish.lease.id);
        if run.is_some() { completed.next() } else { reported.next() }.ok_or_else(|| odd("a finish"))
    };
    std::iter::zip(batch, &runs).map(answer).collect()
}

/// Whether it is all the same which of the reports comes first: each is on another job, and none of those follows.
fn in_any_order(batch: &[Finish]) -> bool {
    let mut ids = HashSet::with_capacity(batch.len());
    batch.iter().all(|finish| ids.insert(&finish.lease.id))
        && batch.iter().flat_map(|finish| &finish.then).all(|job| !ids.contains(&job.spec.id))
}

/// A completed run that leaves nothing behind, packed as `lua/complete.lua` takes it.
fn plain_run(finish: &Finish, held: &Held) -> Option<Vec<u8>> {
    let says_no_more = finish.verdict == Verdict::Complete
        && finish.error.is_none()
        && finish.result.is_none()
        && finish.news.is_empty()
        && finish.then.is_empty();
    if !says_no_more || !held.plain || held.fence != finish.lease.fence {
        return None;
    }
    let spec = &*held.spec;
    let mut pack = Pack::default();
    pack.list(7).text(arg(&finish.lease.id)).text(arg(finish.lease.fence)).text(spec.kind.as_str());
    pack.text(spec.tenant.as_deref().unwrap_or_default()).number(held.created.as_micros());
    pack.text(format!("w{}", slot_of(held.waited))).text(format!("n{}", slot_of(finish.ran)));
    Some(pack.bytes())
}

async fn complete(store: &Shared, queue: &QueueName, runs: &[&Vec<u8>]) -> Result<Vec<Finished>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let mut pack = Pack::default();
    pack.list(runs.len());
    runs.iter().for_each(|run| {
        pack.packed(run);
    });
    let answers = list(store.on(queue, &scripts::COMPLETE, [pack.bytes()]).await?)?;
    answers.iter().map(finished).collect()
}

async fn finish_others(store: &Shared, queue: &QueueName, batch: &[&Finish]) -> Result<Vec<Finished>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let mut args = vec![arg(batch.len())];
    for finish in batch {
        report(store, queue, finish, &mut args).await?;
    }
    let answers = list(store.on(queue, &scripts::FINISH, args).await?)?;
    let [_, top, codes @ .., letters] = answers.as_slice() else { return Err(odd("a finish")) };
    store.note_top(number(top)?);
    let answers = codes.iter().map(finished).collect();
    if number(letters)? > 0
        && let Err(error) = carry(store, queue).await
    {
        // The reports have been applied, and the sweeps carry what is left.
        debug!(%error, queue = queue.as_str(), "follow-up jobs for another queue wait for the next sweep");
    }
    answers
}

/// Ends a claimed job whose id or message cannot be read here, so that it fails no claim again. Go lets an id be any
/// text, and may still run it.
pub(super) async fn bury_unreadable(store: &Shared, queue: &QueueName, id: &[u8], fence: &[u8]) -> Result<()> {
    let class = serde_json::to_value(ErrorClass::Undecodable).ok();
    let class = class.as_ref().and_then(|class| class.as_str()).unwrap_or("error").as_bytes().to_vec();
    let words = "its id or message cannot be read by windlass".as_bytes().to_vec();
    let reason = DeadReason::Undecodable.as_str().into();
    let args = [arg(1), id.into(), fence.into(), "bury".into(), arg(0), reason, class, words, arg(0), Vec::new()];
    // It ran for no time, says nothing, and nothing follows.
    let nothing = [arg(0), arg(0), arg(0), arg(0)];
    store.on(queue, &scripts::FINISH, args.into_iter().chain(nothing)).await.map(drop)
}

fn finished(code: &Value) -> Result<Finished> {
    let state = u8::try_from(number(code)?).ok().and_then(State::from_code);
    Ok(state.map_or(Finished::Stale, Finished::Applied))
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
        args.extend(followers(store, queue, &here).await?);
    }
    args.push(arg(there.len()));
    for job in &there {
        args.extend([job.spec.queue.as_str().into(), encode::packed(job)?]);
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
            letters.push((number(&number_of)?, letter[start..].to_vec()));
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
    mut letters: Vec<(i64, Vec<u8>)>,
) -> Result<()> {
    // Who is in the way in another queue is asked for here; in the target the script sees to it.
    for other in store.all_queues().await?.iter().filter(|other| *other != target) {
        let asked: Vec<usize> = (0..letters.len()).filter(|at| !letters[*at].1.is_empty()).collect();
        let claims = asked.iter().map(|at| encode::claim_of(&letters[*at].1)).collect::<Result<Vec<_>>>()?;
        for (at, found) in std::iter::zip(asked, look(store, other, claims.into_iter()).await?) {
            if found.is_some() {
                letters[at].1.clear();
            }
        }
    }
    if letters.iter().any(|(_, letter)| !letter.is_empty()) {
        register(store, target).await?;
    }
    let mut args = vec![source.as_str().into(), arg(letters.len())];
    for (number, letter) in letters {
        args.extend([arg(number), letter]);
    }
    let answer = list(store.on(target, &scripts::INBOX, args).await?)?;
    store.note_top(number(answer.get(1).ok_or_else(|| odd("a delivery"))?)?);
    store.waker.wake();
    Ok(())
}
