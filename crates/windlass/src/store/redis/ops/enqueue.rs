//! Brings jobs in: one script for each stretch of jobs of the same queue.

use redis::Value;

use super::{
    Shared, arg,
    encode::{self, VALUES},
    record::holder,
    reply::{list, number, odd},
    scripts,
};
use crate::{
    job::{NewJob, QueueName, UniqueMode},
    store::{Enqueued, Result, StoreError},
};

/// The most jobs of one script, and the most bytes of their messages.
const MOST: usize = 500;
const MOST_BYTES: usize = 4 << 20;

pub(in super::super) async fn enqueue(store: &Shared, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    let mut answers = Vec::with_capacity(jobs.len());
    let mut left = jobs;
    while let Some(first) = left.first() {
        let (chunk, rest) = left.split_at(stretch(left));
        answers.extend(enqueue_chunk(store, &first.spec.queue, chunk).await?);
        left = rest;
    }
    store.waker.wake();
    Ok(answers)
}

/// How many jobs from the first on go into one script.
fn stretch(jobs: &[NewJob]) -> usize {
    let mut bytes = 0;
    let fits = |job: &&NewJob| {
        bytes += job.spec.payload.len();
        job.spec.queue == jobs[0].spec.queue && bytes <= MOST_BYTES
    };
    jobs.iter().take(MOST).take_while(fits).count().max(1)
}

async fn enqueue_chunk(store: &Shared, queue: &QueueName, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    let elsewhere = in_the_way_elsewhere(store, queue, jobs).await?;
    register(store, queue).await?;
    let fresh: Vec<_> = std::iter::zip(jobs, &elsewhere).filter(|(_, other)| other.is_none()).collect();
    let mut args = vec![arg(fresh.len())];
    for (job, _) in &fresh {
        args.extend(encode::values(job)?);
    }
    let mut answers = list(store.on(queue, &scripts::ENQUEUE, args).await?)?.into_iter();
    let mut next = || answers.next().ok_or_else(|| odd("an enqueue"));
    next()?;
    store.note_top(number(&next()?)?);
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
    if store.queues.lock().contains(queue) {
        return Ok(());
    }
    let mut add = redis::cmd("SADD");
    add.arg(store.plain_key("queues")).arg(queue.as_str());
    store.link.run(&add).await?;
    store.queues.lock().insert(queue.clone());
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
            found[*at] = found[*at].take().or(there);
        }
    }
    Ok(found)
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

/// The values of jobs that follow a finished one in its own queue; one whose id or key another queue holds is blank.
pub(super) async fn followers(store: &Shared, queue: &QueueName, jobs: &[NewJob]) -> Result<Vec<[Vec<u8>; VALUES]>> {
    let elsewhere = in_the_way_elsewhere(store, queue, jobs).await?;
    let values = |(job, other): (&NewJob, &Option<Enqueued>)| {
        let mut values = encode::values(job)?;
        if other.is_some() {
            values[0].clear();
        }
        Ok(values)
    };
    std::iter::zip(jobs, &elsewhere).map(values).collect()
}
