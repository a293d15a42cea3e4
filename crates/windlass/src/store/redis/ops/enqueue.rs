//! Brings jobs in: one script for each stretch of jobs of the same queue.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::Value;
use tracing::debug;

use super::{
    Shared, arg, encode, gather,
    heal::{note, tidy_at_times},
    pack::Pack,
    record::holder,
    reply::{list, number, odd},
    scripts,
};
use crate::{
    job::{JobId, NewJob, QueueName, State, UniqueMode},
    store::{Enqueued, Result, StoreError},
};

/// The most jobs of one script, and the most bytes of their messages.
const MOST: usize = 500;
const MOST_BYTES: usize = 4 << 20;

pub(in super::super) async fn enqueue(store: Arc<Shared>, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    let queue = first.spec.queue.clone();
    if jobs.iter().any(|job| is_foreign(job) || job.spec.queue != queue) {
        return enqueue_in_turn(&store, &jobs).await;
    }
    if jobs.len() >= MOST {
        return enqueue_at_once(&store, &jobs).await;
    }
    gather::enqueue(store, queue, jobs).await
}

/// How many scripts of one call are under way: one is made or read here while Redis runs the other.
const UNDER_WAY: usize = 2;

/// Brings jobs of one queue in that nobody can be in the way of: the scripts travel one behind the other.
pub(super) async fn enqueue_at_once(store: &Arc<Shared>, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    let mut chunks = Vec::new();
    let mut left = jobs;
    while !left.is_empty() {
        let (chunk, rest) = left.split_at(stretch(left));
        chunks.push(enqueue_chunk(store, &chunk[0].spec.queue, chunk));
        left = rest;
    }
    let answers: Vec<_> = stream::iter(chunks).buffered(UNDER_WAY).try_collect().await?;
    store.waker.wake();
    Ok(answers.into_iter().flatten().collect())
}

async fn enqueue_in_turn(store: &Arc<Shared>, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    let mut answers = Vec::with_capacity(jobs.len());
    let mut left = jobs;
    while let Some(first) = left.first() {
        let (chunk, rest) = left.split_at(stretch(left));
        answers.extend(enqueue_chunk(store, &first.spec.queue, chunk).await?);
        left = rest;
    }
    for answer in &mut answers {
        if let Enqueued::Duplicate(id, state @ None) = answer {
            *state = state_anywhere(store, id).await?;
        }
    }
    store.waker.wake();
    Ok(answers)
}

/// How many jobs from the first on go into one script. An id that comes again waits for the next one, since what is in
/// its way by then shows only after this.
fn stretch(jobs: &[NewJob]) -> usize {
    let (mut bytes, mut touched, mut ids) = (0, 0, HashSet::new());
    for (at, job) in jobs.iter().enumerate().take(MOST) {
        bytes += job.spec.payload.len();
        // Of an exclusive one the holder of its key is looked at, too.
        touched += 1 + usize::from(job.spec.exclusive.is_some());
        let again = is_foreign(job) && !ids.insert(&job.spec.id);
        if at > 0 && (again || job.spec.queue != jobs[0].spec.queue || bytes > MOST_BYTES || touched > MOST) {
            return at;
        }
    }
    jobs.len().min(MOST)
}

async fn enqueue_chunk(store: &Arc<Shared>, queue: &QueueName, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    let elsewhere = in_the_way_elsewhere(store, queue, jobs).await?;
    let fresh: Vec<_> = std::iter::zip(jobs, &elsewhere).filter(|(_, other)| other.is_none()).collect();
    // A queue comes to be by its first job, not by one that is elsewhere already.
    if !fresh.is_empty() {
        register(store, queue).await?;
    }
    let packed = fresh.iter().map(|(job, _)| encode::packed(job)).collect::<Result<Vec<_>>>()?;
    let mut pack = Pack::default();
    pack.list(packed.len());
    packed.iter().for_each(|job| {
        pack.packed(job);
    });
    let bytes = pack.bytes();
    if fresh.len() == jobs.len() && packed.iter().all(|job| encode::is_plain(job)) {
        let top = number(&store.on(queue, &scripts::ADD, [bytes.clone()]).await?)?;
        if top > 0 {
            store.note_top(top);
            tidy_at_times(store, queue, top, jobs.len());
            return Ok(jobs.iter().map(|job| Enqueued::New(job.spec.id.clone())).collect());
        }
    }
    let mut answers = list(store.on(queue, &scripts::ENQUEUE, [bytes]).await?)?.into_iter();
    let mut next = || answers.next().ok_or_else(|| odd("an enqueue"));
    next()?;
    let top = number(&next()?)?;
    store.note_top(top);
    tidy_at_times(store, queue, top, fresh.len());
    let mut enqueued = Vec::with_capacity(jobs.len());
    for (job, other) in std::iter::zip(jobs, elsewhere) {
        enqueued.push(match other {
            Some(duplicate) => duplicate,
            None => match holder(next()?)? {
                Some((id, state)) => Enqueued::Duplicate(id, state),
                None => Enqueued::New(job.spec.id.clone()),
            },
        });
    }
    Ok(enqueued)
}

/// Tells Asynq's tools of the queue. They look nowhere else, so it comes before the first job.
pub(super) async fn register(store: &Shared, queue: &QueueName) -> Result<()> {
    if store.noted.lock().contains(queue) {
        return Ok(());
    }
    let known = store.queues.lock().contains(queue);
    if !known {
        let mut add = redis::cmd("SADD");
        add.arg(store.plain_key("queues")).arg(queue.as_str());
        store.link.run(&add).await?;
        store.queues.lock().insert(queue.clone());
    }
    // And beside Asynq's own list, so that it is known of what is left once Go deletes the queue.
    match store.link.run(&note(store, "SADD", queue)).await {
        Ok(_) => drop(store.noted.lock().insert(queue.clone())),
        // A full Redis takes it not; the sweeps note it later.
        Err(error) => debug!(%error, queue = queue.as_str(), "a queue is not noted yet"),
    }
    Ok(())
}

/// The jobs whose id or key another queue holds. Ids of our own making are held by none; of the others each queue is
/// asked. It is a look, not a lock: within a queue ids and keys are exact, across queues two clients that bring the
/// same at the same moment can both succeed.
pub(super) async fn in_the_way_elsewhere(
    store: &Shared,
    queue: &QueueName,
    jobs: &[NewJob],
) -> Result<Vec<Option<Enqueued>>> {
    let mut found = vec![None; jobs.len()];
    let asked: Vec<usize> = (0..jobs.len()).filter(|at| is_foreign(&jobs[*at])).collect();
    if asked.is_empty() {
        return Ok(found);
    }
    for other in store.all_queues().await?.iter().filter(|other| *other != queue) {
        let looked = look(store, other, asked.iter().map(|at| key_of(&jobs[*at]))).await?;
        for (at, there) in std::iter::zip(&asked, looked) {
            found[*at] = nearer(&jobs[*at], found[*at].take(), there);
        }
    }
    // Whose key is held elsewhere may have its very id in this queue.
    let by_key = |at: &usize| found[*at].as_ref().is_some_and(|other| *other.id() != jobs[*at].spec.id);
    let asked: Vec<usize> = asked.into_iter().filter(by_key).collect();
    if !asked.is_empty() {
        let ids = asked.iter().map(|at| [arg(&jobs[*at].spec.id), Vec::new(), Vec::new()]);
        for (at, here) in std::iter::zip(&asked, look(store, queue, ids).await?) {
            found[*at] = nearer(&jobs[*at], found[*at].take(), here);
        }
    }
    Ok(found)
}

/// Who is in the way of a job: one with its id before one with its key, else the first that was found.
fn nearer(job: &NewJob, first: Option<Enqueued>, second: Option<Enqueued>) -> Option<Enqueued> {
    let same = |other: &Option<Enqueued>| other.as_ref().is_some_and(|other| *other.id() == job.spec.id);
    if first.is_none() || (same(&second) && !same(&first)) { second } else { first }
}

/// Asks one queue who is in the way of jobs, given as id, mode and key.
pub(super) async fn look(
    store: &Shared,
    queue: &QueueName,
    jobs: impl Iterator<Item = [Vec<u8>; 3]>,
) -> Result<Vec<Option<Enqueued>>> {
    let asked: Vec<Vec<u8>> = jobs.flatten().collect();
    let args = std::iter::once(arg(asked.len() / 3)).chain(asked);
    let answers = list(store.on(queue, &scripts::LOOK, args).await?)?;
    let duplicate =
        |value: Value| Ok::<_, StoreError>(holder(value)?.map(|(id, state)| Enqueued::Duplicate(id, state)));
    answers.into_iter().map(duplicate).collect()
}

/// The state of a job that an idempotency key names and that its queue no longer has: it may have come again in another.
pub(super) async fn state_anywhere(store: &Shared, id: &JobId) -> Result<Option<State>> {
    for queue in store.all_queues().await? {
        let asked = std::iter::once([arg(id), Vec::new(), Vec::new()]);
        if let Some(Enqueued::Duplicate(_, state)) = look(store, &queue, asked).await?.pop().flatten() {
            return Ok(state);
        }
    }
    Ok(None)
}

/// Whether another queue could hold the job's id or key.
fn is_foreign(job: &NewJob) -> bool {
    let made_here = job.spec.id.as_uuid().is_some_and(|id| id.get_version_num() == 7);
    job.spec.unique.is_some() || !made_here
}

fn key_of(job: &NewJob) -> [Vec<u8>; 3] {
    let mode = match job.spec.unique.map(|unique| unique.mode) {
        None => "",
        Some(UniqueMode::UntilDone) => "u",
        Some(UniqueMode::Idempotency { .. }) => "i",
    };
    let key = job.spec.unique.map(|unique| unique.key.to_string()).unwrap_or_default();
    [arg(&job.spec.id), mode.into(), key.into_bytes()]
}

/// Jobs that follow a finished one in its own queue, packed; one whose id or key another queue holds is blank.
pub(super) async fn followers(store: &Shared, queue: &QueueName, jobs: &[NewJob]) -> Result<Vec<Vec<u8>>> {
    let elsewhere = in_the_way_elsewhere(store, queue, jobs).await?;
    let packed = |(job, other): (&NewJob, &Option<Enqueued>)| match other {
        Some(_) => Ok(Vec::new()),
        None => encode::packed(job),
    };
    std::iter::zip(jobs, &elsewhere).map(packed).collect()
}
