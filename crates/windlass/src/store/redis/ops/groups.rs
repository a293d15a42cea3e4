//! Groups: Asynq's own sets, so that Go's aggregator and ours see the same members.

use std::collections::HashSet;

use redis::Value;

use super::{
    Shared, arg, encode,
    enqueue::{in_the_way_elsewhere, state_anywhere},
    finish::carry,
    record,
    reply::{list, number, odd, text},
    scripts,
};
use crate::{
    job::{GroupInfo, GroupKey, GroupMember, JobId, MAX_MEMBERS, QueueName, State, Timestamp},
    store::{Enqueued, Flush, Flushed, GroupPage, MEMBERS_BYTES, Result},
};

/// The most names that one script is asked for, and the most members that it removes.
const NAMES: usize = 100;
const MOST: u32 = 500;

/// The names of a queue's groups, in their order. Some may have no members.
pub(super) async fn group_names(store: &Shared, queue: &QueueName) -> Result<Vec<String>> {
    let mut ask = redis::cmd("SMEMBERS");
    ask.arg(format!("{}groups", store.queue_key(queue)));
    let mut names = list(store.link.run(&ask).await?)?.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Those of these groups that have members, and the wall clock.
pub(super) async fn infos(store: &Shared, queue: &QueueName, names: &[String]) -> Result<(Vec<GroupInfo>, Timestamp)> {
    let (mut found, mut now) = (Vec::new(), Timestamp::default());
    for chunk in names.chunks(NAMES) {
        let args = std::iter::once(arg(chunk.len())).chain(chunk.iter().map(arg));
        let mut answer = list(store.on(queue, &scripts::GROUPS, args).await?)?.into_iter();
        now = Timestamp::from_micros(number(&answer.next().ok_or_else(|| odd("groups"))?)?);
        for (name, info) in std::iter::zip(chunk, answer) {
            let Value::Array(info) = info else { continue };
            let [size, oldest, newest, asked] = info.as_slice() else { return Err(odd("a group")) };
            let at = |value| number(value).map(Timestamp::from_micros);
            let key = GroupKey::new(queue.clone(), name.as_str());
            let size = u32::try_from(number(size)?).unwrap_or(MAX_MEMBERS);
            let mut group = GroupInfo::new(key, size, at(oldest)?, at(newest)?);
            group.flush_asked = number(asked)? == 1;
            found.push(group);
        }
    }
    Ok((found, now))
}

pub(in super::super) async fn page(
    store: &Shared,
    queue: Option<QueueName>,
    after: Option<GroupKey>,
    limit: u32,
) -> Result<GroupPage> {
    let limit = limit.min(1000) as usize;
    let mut page = GroupPage { now: store.env.wall(), ..GroupPage::default() };
    let of = |name: &QueueName| queue.as_ref().is_none_or(|queue| queue == name);
    for queue in store.all_queues().await?.into_iter().filter(of) {
        let past =
            |name: &String| after.as_ref().is_none_or(|after| GroupKey::new(queue.clone(), name.as_str()) > *after);
        let names: Vec<_> = group_names(store, &queue).await?.into_iter().filter(past).collect();
        for chunk in names.chunks(NAMES) {
            let (found, now) = infos(store, &queue, chunk).await?;
            page.now = now;
            page.items.extend(found);
            if page.items.len() > limit {
                page.items.truncate(limit);
                page.next = page.items.last().map(|group| group.key.clone());
                return Ok(page);
            }
        }
    }
    Ok(page)
}

pub(in super::super) async fn members(store: &Shared, group: &GroupKey, limit: u32) -> Result<Vec<GroupMember>> {
    let args = [arg(&group.name), arg(limit.min(MAX_MEMBERS)), arg(MEMBERS_BYTES)];
    let mut answer = list(store.on(&group.queue, &scripts::MEMBERS, args).await?)?.into_iter();
    let mut members = Vec::new();
    while let (Some(message), Some(options), Some(version)) = (answer.next(), answer.next(), answer.next()) {
        members.push(GroupMember::new(record::spec(message, options)?.into(), number(&version)?));
    }
    Ok(members)
}

/// The new job comes in with the step that ends its members. One for another queue goes by the outbox, so it is not lost
/// either.
pub(in super::super) async fn flush(store: &Shared, flush: &Flush) -> Result<Flushed> {
    let (into, here) = (&flush.into, &flush.group.queue);
    let elsewhere = in_the_way_elsewhere(store, here, std::slice::from_ref(into)).await?;
    if let Some(Enqueued::Duplicate(id, state)) = elsewhere.into_iter().next().flatten() {
        // Whether the members are still as they were read goes before whose id or key it is.
        return taken(store, flush, id, state).await;
    }
    // A queue is made known by what comes into it: this one has members, and another one gets its letter.
    let mut args = vec![arg(&flush.group.name)];
    let outside = into.spec.queue != *here;
    args.extend([encode::packed(into)?, if outside { arg(&into.spec.queue) } else { Vec::new() }]);
    let flushed = run(store, flush, args).await?;
    if outside && matches!(flushed, Flushed::Into(_)) {
        carry(store, here).await?;
    }
    Ok(flushed)
}

/// The answer to a flush whose new job another queue stands in the way of.
async fn taken(store: &Shared, flush: &Flush, id: JobId, state: Option<State>) -> Result<Flushed> {
    let read = members(store, &flush.group, MAX_MEMBERS).await?;
    let there: HashSet<_> = read.iter().map(GroupMember::read).collect();
    let named: HashSet<_> = flush.members.iter().collect();
    let same = named.len() == flush.members.len() && flush.members.iter().all(|member| there.contains(member));
    Ok(if same { Flushed::Taken(id, state) } else { Flushed::Changed })
}

async fn run(store: &Shared, flush: &Flush, mut args: Vec<Vec<u8>>) -> Result<Flushed> {
    args.push(arg(flush.members.len()));
    args.extend(flush.members.iter().flat_map(|(id, version)| [arg(id), arg(version)]));
    let mut answer = list(store.on(&flush.group.queue, &scripts::FLUSH, args).await?)?.into_iter();
    store.note_top(number(&answer.next().ok_or_else(|| odd("a flush"))?)?);
    match (answer.next(), answer.next()) {
        (Some(holder), Some(state)) => {
            let holder = encode::id(&text(holder)?)?;
            let state = match u8::try_from(number(&state)?).ok().and_then(State::from_code) {
                None => state_anywhere(store, &holder).await?,
                known => known,
            };
            Ok(Flushed::Taken(holder, state))
        }
        (Some(Value::Int(0)), None) => Ok(Flushed::Changed),
        (Some(_), None) => {
            store.waker.wake();
            Ok(Flushed::Into(flush.into.spec.id.clone()))
        }
        _ => Err(odd("a flush")),
    }
}

pub(in super::super) async fn ask_flush(store: &Shared, group: &GroupKey) -> Result<bool> {
    Ok(number(&store.on(&group.queue, &scripts::ASK_FLUSH, [arg(&group.name)]).await?)? == 1)
}

pub(in super::super) async fn delete_members(store: &Shared, group: &GroupKey, limit: u32) -> Result<u32> {
    let mut removed = 0;
    while removed < limit {
        let many = (limit - removed).min(MOST);
        let args = [arg(&group.name), arg(many)];
        let gone = number(&store.on(&group.queue, &scripts::DELETE_MEMBERS, args).await?)?;
        removed += u32::try_from(gone).unwrap_or(0);
        if gone < i64::from(many) {
            break;
        }
    }
    store.waker.wake();
    Ok(removed)
}
