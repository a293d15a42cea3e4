//! Answers what an idle server asks from what is known of a calm store, and sees to it that something is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::{Value, aio::MultiplexedConnection};
use tracing::debug;

use super::{
    Shared, lease,
    reply::{list, number, odd},
};
use crate::{
    job::QueueName,
    store::{
        Claim, ClaimRequest, PromoteRules, Promoted, RescueRules, Rescued, Result, StoreError, redis::calm::Surveyed,
    },
};

/// How many queues are surveyed in one round trip.
const TOGETHER: usize = 100;
/// Small enough to be sent along each time.
const SURVEY: &str = include_str!("../lua/survey.lua");
/// What it reads, in its order.
const KEYS: [&str; 15] = [
    "pending",
    "x:lines",
    "x:suspects",
    "x:due",
    "scheduled",
    "retry",
    "x:lease",
    "lease",
    "active",
    "x:outs",
    "x:cancelled",
    "x:deleted",
    "archived",
    "x:wishes",
    "x:rows",
];

pub(in super::super) async fn claim(store: &Arc<Shared>, request: &ClaimRequest) -> Result<Claim> {
    let now = store.env.monotonic();
    let queues = request.shares.iter().map(|share| &share.queue);
    if store.calm.nobody_waits(request.server, queues, now) {
        renew(store);
        return Ok(Claim::default());
    }
    store.calm.asks(request.server, request.shares.iter().map(|share| &share.queue));
    let claim = super::claim::claim(store, request).await?;
    store.calm.answered(request.server);
    super::promote::note_claim(store, request, &claim);
    if claim.jobs.is_empty() && claim.suspect_waiting.is_none() {
        renew(store);
    }
    Ok(claim)
}

pub(in super::super) async fn promote(store: &Shared, rules: &PromoteRules) -> Result<Promoted> {
    match store.calm.nothing_due(store.env.monotonic()) {
        Some(next_due) => Ok(Promoted { moved: 0, next_due, held_back: false }),
        None => {
            let promoted = super::promote::promote(store, rules).await?;
            store.calm.stir_if(promoted.moved > 0);
            Ok(promoted)
        }
    }
}

pub(in super::super) async fn rescue(store: &Shared, rules: &RescueRules) -> Result<Rescued> {
    let now = store.env.monotonic();
    if rules.ran_late || !store.calm.nothing_lapsed(now) {
        let rescued = lease::rescue(store, rules).await;
        store.calm.stir_if(rescued.as_ref().is_ok_and(|rescued| !rescued.jobs.is_empty()));
        return rescued;
    }
    if store.calm.stamp_is_due(now, rules.lease) {
        lease::pulse(store, rules.lease, false).await?;
    }
    Ok(Rescued::default())
}

/// Makes a survey beside the caller if it is time for one.
fn renew(store: &Arc<Shared>) {
    if store.calm.wants_survey(store.env.monotonic()) {
        let store = store.clone();
        store.env.clone().spawn(async move { survey(&store).await });
    }
}

async fn survey(store: &Shared) {
    let (at, moves) = (store.env.monotonic(), store.calm.moves());
    let found = match store.calm.hearing() {
        Some(connection) => look(store, connection).await,
        None => Err(StoreError::Unavailable("no connection for hints".into())),
    };
    if let Err(error) = &found {
        debug!(%error, "no survey of the queues");
    }
    if store.calm.surveyed(at, moves, found.ok()) {
        store.waker.wake();
    }
}

/// Reads all queues over the connection whose reads Redis remembers: in one round trip, as long as none is new and there
/// are not hundreds.
async fn look(store: &Shared, mut connection: MultiplexedConnection) -> Result<Vec<Surveyed>> {
    let mut names = redis::cmd("SMEMBERS");
    names.arg(store.plain_key("queues"));
    let mut known: BTreeSet<QueueName> = store.calm.named();
    known.extend(store.queues.lock().iter().cloned());
    let mut known: Vec<_> = known.into_iter().collect();
    let later = known.split_off(known.len().min(TOGETHER));
    let (listed, mut answers) = ask(store, &mut connection, Some(names), &known).await?;
    let registered = store.readable(listed.ok_or_else(|| odd("queues"))?)?;
    store.learn(&registered);
    let new = registered.iter().filter(|queue| !answers.contains_key(*queue) && !later.contains(queue)).cloned();
    let later: Vec<_> = later.iter().cloned().chain(new).collect();
    for some in later.chunks(TOGETHER) {
        answers.extend(ask(store, &mut connection, None, some).await?.1);
    }
    let read = |(queue, answer): (QueueName, Value)| {
        let registered = registered.contains(&queue);
        match answer.extract_error() {
            Ok(answer) => read(queue, registered, &list(answer)?),
            Err(_) => Ok(unknown(queue, registered)),
        }
    };
    answers.into_iter().map(read).collect()
}

/// Asks for these queues in one round trip, and before them for something else.
async fn ask(
    store: &Shared,
    connection: &mut MultiplexedConnection,
    before: Option<redis::Cmd>,
    queues: &[QueueName],
) -> Result<(Option<Value>, BTreeMap<QueueName, Value>)> {
    let others = usize::from(before.is_some());
    let mut pipe = redis::pipe();
    for command in
        before.into_iter().chain(queues.iter().enumerate().map(|(at, queue)| survey_of(store, queue, at == 0)))
    {
        pipe.add_command(command);
    }
    let sent = connection.send_packed_commands(&pipe, 0, pipe.len()).await;
    let mut answers = sent.map_err(|error| StoreError::Unavailable(error.to_string()))?.into_iter();
    let other = answers.by_ref().take(others).next();
    Ok((other, std::iter::zip(queues.iter().cloned(), answers).collect()))
}

/// One queue's survey. The first of those that go together brings the script along.
fn survey_of(store: &Shared, queue: &QueueName, first: bool) -> redis::Cmd {
    static HASH: LazyLock<String> = LazyLock::new(|| redis::Script::new(SURVEY).get_hash().to_owned());
    let [_, expected, offset] = store.clock.moment();
    let mut ask = if first { redis::cmd("EVAL") } else { redis::cmd("EVALSHA") };
    ask.arg(if first { SURVEY } else { &HASH }).arg(KEYS.len());
    ask.arg(KEYS.map(|key| format!("{}{key}", store.queue_key(queue))).as_slice());
    ask.arg(&expected).arg(&offset);
    ask
}

/// What is taken for granted of a queue that cannot be surveyed: there may be anything to do.
fn unknown(queue: QueueName, registered: bool) -> Surveyed {
    Surveyed { queue, registered, waiting: true, next_due: Some(Duration::ZERO), next_lapse: None, mend: true }
}

fn read(queue: QueueName, registered: bool, answer: &[Value]) -> Result<Surveyed> {
    let [waiting, due, lapse, mend] = answer else { return Err(odd("a survey")) };
    let span = |value: &Value| Ok::<_, StoreError>(u64::try_from(number(value)?).ok().map(Duration::from_micros));
    Ok(Surveyed {
        queue,
        registered,
        waiting: number(waiting)? == 1,
        next_due: span(due)?,
        next_lapse: span(lapse)?,
        mend: number(mend)? == 1,
    })
}
