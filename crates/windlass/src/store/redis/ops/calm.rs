//! Answers what an idle server asks from what is known of a calm store, and sees to it that something is known.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use redis::{Value, aio::MultiplexedConnection};
use tracing::debug;

use super::{
    Shared, lease,
    reply::{list, number, odd, text},
};
use crate::{
    job::QueueName,
    store::{Claim, ClaimRequest, Promoted, RescueRules, Rescued, Result, StoreError, redis::calm::Surveyed},
};

/// Small enough to be sent along each time.
const SURVEY: &str = include_str!("../lua/survey.lua");
/// What it reads, in its order.
const KEYS: [&str; 14] = [
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
    if claim.jobs.is_empty() && claim.suspect_waiting.is_none() {
        renew(store);
    }
    Ok(claim)
}

pub(in super::super) async fn promote(store: &Shared, limit: u32) -> Result<Promoted> {
    match store.calm.nothing_due(store.env.monotonic()) {
        Some(next_due) => Ok(Promoted { moved: 0, next_due }),
        None => {
            let promoted = super::promote::promote(store, limit).await?;
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

/// Reads all queues over the connection whose reads Redis remembers.
async fn look(store: &Shared, mut connection: MultiplexedConnection) -> Result<Vec<Surveyed>> {
    let mut ask = async |command: redis::Cmd| -> Result<Value> {
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| StoreError::Unavailable(error.to_string()))
    };
    let mut names = redis::cmd("SMEMBERS");
    names.arg(store.plain_key("queues"));
    let (Value::Array(names) | Value::Set(names)) = ask(names).await? else { return Err(odd("queues")) };
    let [_, expected, offset] = store.clock.moment();
    let registered: BTreeSet<_> =
        names.into_iter().map(|name| text(name).map(QueueName::trusted)).collect::<Result<_>>()?;
    let queues: BTreeSet<_> = registered.iter().cloned().chain(store.calm.named()).collect();
    let mut surveyed = Vec::with_capacity(queues.len());
    for queue in queues {
        let mut one = redis::cmd("EVAL");
        one.arg(SURVEY).arg(KEYS.len());
        one.arg(KEYS.map(|key| format!("{}{key}", store.queue_key(&queue))).as_slice());
        one.arg(&expected).arg(&offset);
        let registered = registered.contains(&queue);
        surveyed.push(read(queue, registered, &list(ask(one).await?)?)?);
    }
    Ok(surveyed)
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
