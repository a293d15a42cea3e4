//! Locks: one script each, in the slot of the lock's name. The names stand in an index of the whole store, for lists.

use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::{
    Shared, arg,
    lease::know_the_clock_well,
    reply::{list, number, odd, text},
    scripts,
};
use crate::{
    job::{Fence, LockName, Timestamp, micros},
    store::{
        Hold, LockHolder, LockInfo, LockPage, LockReply, LockRequest, MAX_HOLDERS_SHOWN, Result, redis::scripts::Script,
    },
};

/// How many names of the index are looked at in one round trip.
const TOGETHER: usize = 100;
/// How many names a sweep looks at.
const SWEPT: u32 = 500;

fn key(store: &Shared, name: &LockName) -> String {
    format!("{}:{{{name}}}:", store.address.prefix)
}

/// The key of the index: a set of names in their order.
fn index(store: &Shared) -> String {
    format!("{}locks", store.store_key())
}

async fn on(store: &Shared, name: &LockName, script: &Script, args: Vec<Vec<u8>>) -> Result<Value> {
    store.link.eval(script, &key(store, name), &store.call_args(args)).await
}

/// The start of Redis, once its steady clock is known.
async fn start(store: &Shared) -> Result<Vec<u8>> {
    know_the_clock_well(store).await?;
    Ok(arg(store.clock.start(&store.link.open().await?.start)))
}

async fn note(store: &Shared, name: &LockName) -> Result<()> {
    let mut note = redis::cmd("ZADD");
    note.arg(index(store)).arg("NX").arg(0).arg(name.as_str());
    store.link.run(&note).await.map(drop)
}

pub(in super::super) async fn acquire(store: &Shared, request: &LockRequest) -> Result<LockReply> {
    let args = vec![
        start(store).await?,
        arg(request.token),
        arg(request.slots),
        arg(micros(request.ttl)),
        arg(request.place.map_or(0, micros)),
        arg(&request.holder),
    ];
    // Listed before it is held, and both in one round trip.
    let (_, answer) =
        tokio::try_join!(note(store, &request.name), on(store, &request.name, &scripts::LOCK_ACQUIRE, args))?;
    let mut answer = list(answer)?.into_iter();
    let first = text(answer.next().ok_or_else(|| odd("a lock"))?)?;
    match (&*first, answer.next(), answer.next()) {
        ("slots", Some(slots), None) => Ok(LockReply::OtherSlots(count(&slots)?)),
        ("busy", Some(retry_in), Some(ahead)) => {
            Ok(LockReply::Busy { retry_in: duration(&retry_in)?, ahead: count(&ahead)? })
        }
        (fence, None, None) => Ok(LockReply::Held(parsed(fence)?)),
        _ => Err(odd("a lock")),
    }
}

pub(in super::super) async fn extend(store: &Shared, hold: &Hold, ttl: Duration) -> Result<bool> {
    let args = vec![start(store).await?, arg(hold.token), arg(hold.fence), arg(micros(ttl))];
    Ok(number(&on(store, &hold.name, &scripts::LOCK_EXTEND, args).await?)? == 1)
}

pub(in super::super) async fn release(
    store: &Shared,
    name: &LockName,
    token: Uuid,
    fence: Option<Fence>,
) -> Result<bool> {
    let args = vec![arg(token), fence.map(arg).unwrap_or_default()];
    let held = number(&on(store, name, &scripts::LOCK_RELEASE, args).await?)? == 1;
    store.waker.wake();
    Ok(held)
}

pub(in super::super) async fn break_lock(store: &Shared, name: &LockName) -> Result<u32> {
    let held = count(&on(store, name, &scripts::LOCK_BREAK, vec![start(store).await?]).await?)?;
    store.waker.wake();
    Ok(held)
}

pub(in super::super) async fn page(store: &Shared, after: Option<&LockName>, limit: u32) -> Result<LockPage> {
    let limit = limit.min(1000) as usize;
    let (mut items, mut past) = (Vec::new(), after.cloned());
    loop {
        let names = names(store, past.as_ref(), TOGETHER).await?;
        for info in look(store, &names).await? {
            if items.len() >= limit && (info.held > 0 || info.waiting > 0) {
                return Ok(LockPage { next: items.last().map(|last: &LockInfo| last.name.clone()), items });
            }
            items.extend((info.held > 0 || info.waiting > 0).then_some(info));
        }
        if names.len() < TOGETHER {
            return Ok(LockPage { items, next: None });
        }
        past = names.into_iter().next_back();
    }
}

/// The names of the index past this one.
async fn names(store: &Shared, past: Option<&LockName>, most: usize) -> Result<Vec<LockName>> {
    let from = past.map_or_else(|| "-".to_owned(), |name| format!("({name}"));
    let mut ask = redis::cmd("ZRANGEBYLEX");
    ask.arg(index(store)).arg(from).arg("+").arg("LIMIT").arg(0).arg(most);
    list(store.link.run(&ask).await?)?.into_iter().map(|name| Ok(LockName::trusted(text(name)?))).collect()
}

/// What is under each of these names.
async fn look(store: &Shared, names: &[LockName]) -> Result<Vec<LockInfo>> {
    let start = start(store).await?;
    let args = || store.call_args([start.clone(), arg(MAX_HOLDERS_SHOWN)]);
    let calls: Vec<_> = names.iter().map(|name| (key(store, name), args())).collect();
    let answers = store.link.eval_each(&scripts::LOCK_SHOW, &calls).await?;
    std::iter::zip(names, answers).map(|(name, answer)| info(name, answer?)).collect()
}

fn info(name: &LockName, answer: Value) -> Result<LockInfo> {
    let answer = list(answer)?;
    let (head, shown) = answer.split_at_checked(3).ok_or_else(|| odd("a lock"))?;
    let holders = shown.chunks_exact(4).map(|one| {
        let fence = parsed(&text(one[0].clone())?)?;
        let since = Timestamp::from_micros(number(&one[1])?);
        Ok(LockHolder::new(fence, text(one[3].clone())?, since, duration(&one[2])?))
    });
    let holders = holders.collect::<Result<_>>()?;
    Ok(LockInfo::new(name.clone(), count(&head[0])?, count(&head[1])?, holders, count(&head[2])?))
}

/// Takes names out of the index that nobody holds or waits for.
pub(super) async fn prune(store: &Shared) -> Result<()> {
    let mut past = None;
    for _ in 0..SWEPT as usize / TOGETHER {
        let names = names(store, past.as_ref(), TOGETHER).await?;
        let idle = |info: &LockInfo| info.held == 0 && info.waiting == 0;
        let gone: Vec<_> = look(store, &names).await?.into_iter().filter(idle).map(|info| info.name).collect();
        for name in &gone {
            let mut forget = redis::cmd("ZREM");
            store.link.run(forget.arg(index(store)).arg(name.as_str())).await?;
        }
        // Somebody may have come between the look and its removal.
        for info in look(store, &gone).await?.iter().filter(|info| !idle(info)) {
            note(store, &info.name).await?;
        }
        past = names.last().cloned();
        if names.len() < TOGETHER {
            break;
        }
    }
    Ok(())
}

fn parsed(fence: &str) -> Result<Fence> {
    Ok(Fence(fence.parse().map_err(|_| odd("a fence"))?))
}

fn count(value: &Value) -> Result<u32> {
    u32::try_from(number(value)?).map_err(|_| odd("a count"))
}

fn duration(value: &Value) -> Result<Duration> {
    Ok(Duration::from_micros(u64::try_from(number(value)?).unwrap_or(0)))
}
