//! Groups: looking at them, and the step that makes one job of their members.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Done, Step,
    change::{Known, by_seq, left_group, remove, settle},
    enqueue::{duplicate_of, enqueue},
    sql,
};
use crate::{
    job::{
        Cause, GroupInfo, GroupKey, GroupMember, JobId, MAX_MEMBERS, Pattern, QueueName, State, Timestamp, UniqueMode,
    },
    store::{
        Enqueued, Flush, Flushed, GroupPage, MEMBERS_BYTES,
        sqlite::{
            clock::Clock,
            fault::Fault,
            rows::{IdColumn, group_of, member_of, record},
        },
    },
};

/// Past every name.
const END: &str = "\u{10ffff}";

pub(in super::super) fn groups(
    conn: &Connection,
    clock: &Clock,
    queue: Option<&QueueName>,
    after: Option<&GroupKey>,
    limit: u32,
) -> Done<GroupPage> {
    let limit = limit.min(1000) as usize;
    // One read transaction: what is shown of a group is of one moment.
    let snapshot = conn.unchecked_transaction()?;
    let (mut past, end) = match queue {
        Some(queue) => (format!("{queue}\u{1f}"), format!("{queue}\u{20}")),
        None => (String::new(), END.to_owned()),
    };
    if let Some(after) = after {
        past = past.max(member_of(&after.queue, &after.name));
    }
    let mut page = GroupPage { now: clock.now, ..GroupPage::default() };
    while let Some(found) = next(&snapshot, &past, &end)? {
        if page.items.len() >= limit {
            page.next = page.items.last().map(|group: &GroupInfo| group.key.clone());
            break;
        }
        page.items.extend(info(&snapshot, &found)?);
        past = found;
    }
    Ok(page)
}

fn next(conn: &Connection, past: &str, end: &str) -> Done<Option<String>> {
    Ok(conn.prepare_cached(sql!("group_next"))?.query_row([past, end], |row| row.get(0))?)
}

fn info(conn: &Connection, name: &str) -> Done<Option<GroupInfo>> {
    let key = group_of(name).ok_or_else(|| Fault::damaged("a job waits in a group without a name"))?;
    let time = |row: &rusqlite::Row<'_>, column| row.get::<_, Option<i64>>(column);
    let mut statement = conn.prepare_cached(sql!("group_age"))?;
    let (size, oldest, newest, until) = statement.query_row(params![name, MAX_MEMBERS], |row| {
        Ok((row.get::<_, u32>(0)?, time(row, 1)?, time(row, 2)?, time(row, 3)?))
    })?;
    let (Some(oldest), Some(newest)) = (oldest, newest) else { return Ok(None) };
    let mut info = GroupInfo::new(key, size, Timestamp::from_micros(oldest), Timestamp::from_micros(newest));
    info.flush_asked = until.is_some_and(|until| oldest <= until);
    Ok(Some(info))
}

pub(in super::super) fn members(
    conn: &Connection,
    clock: &Clock,
    group: &GroupKey,
    limit: u32,
) -> Done<Vec<GroupMember>> {
    // One read transaction, so that each version is that of what was read.
    let snapshot = conn.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached(sql!("group_members"))?;
    let mut found = statement.query(params![member_of(&group.queue, &group.name), limit.min(MAX_MEMBERS)])?;
    let mut one = snapshot.prepare_cached(sql!("record_by_seq"))?;
    let (mut read, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let job = one.query_row([row.get::<_, i64>(0)?], |row| record(row, clock))?;
        bytes += job.spec.payload.len();
        if bytes > MEMBERS_BYTES && !read.is_empty() {
            break;
        }
        read.push(GroupMember::new(job.spec, row.get(1)?));
    }
    Ok(read)
}

pub(in super::super) fn flush(step: &mut Step<'_>, flush: &Flush) -> Done<Flushed> {
    let name = member_of(&flush.group.queue, &flush.group.name);
    let Some(members) = as_read(step, &name, flush)? else { return Ok(Flushed::Changed) };
    if let Some(Enqueued::Duplicate(id, state)) = duplicate_of(step, &flush.into)?
        && !is_freed(flush, &id)
    {
        return Ok(Flushed::Taken(id, state));
    }
    let into = &flush.into.spec.id;
    for job in &members {
        step.conn.prepare_cached(sql!("change_flushed"))?.execute(params![job.seq, IdColumn(into)])?;
        settle(step, job, State::Completed, Cause::Flush, None, None)?;
    }
    left_group(step, Some(&name))?;
    enqueue(step, std::slice::from_ref(&flush.into))?;
    Ok(Flushed::Into(into.clone()))
}

/// The members, if each of them still waits in the group as it was read.
fn as_read(step: &Step<'_>, name: &str, flush: &Flush) -> Done<Option<Vec<Known>>> {
    let mut statement = step.conn.prepare_cached(sql!("group_member"))?;
    let (mut members, mut seen) = (Vec::with_capacity(flush.members.len()), HashSet::new());
    for (id, version) in &flush.members {
        let found = statement.query_row([IdColumn(id)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, i64>(2)?))
        });
        let Some((seq, group, now)) = found.optional()? else { return Ok(None) };
        if group.as_deref() != Some(name) || now != *version || !seen.insert(seq) {
            return Ok(None);
        }
        let Some(job) = by_seq(step, seq)? else { return Ok(None) };
        members.push(job);
    }
    Ok(Some(members))
}

/// Whether what stands in the way of the new job is the key of a member, which ends in the same step.
fn is_freed(flush: &Flush, holder: &JobId) -> bool {
    let live = flush.into.spec.unique.is_some_and(|unique| unique.mode == UniqueMode::UntilDone);
    live && *holder != flush.into.spec.id && flush.members.iter().any(|(id, _)| id == holder)
}

/// Makes the group due, for those that are there.
pub(in super::super) fn ask_flush(step: &mut Step<'_>, group: &GroupKey) -> Done<bool> {
    let row = params![member_of(&group.queue, &group.name), step.now()];
    Ok(step.conn.prepare_cached(sql!("group_ask"))?.execute(row)? > 0)
}

pub(in super::super) fn delete_members(step: &mut Step<'_>, group: &GroupKey, limit: u32) -> Done<u32> {
    let name = member_of(&group.queue, &group.name);
    let mut statement = step.conn.prepare_cached(sql!("group_members"))?;
    let found = statement.query_map(params![name, limit], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    drop(statement);
    for seq in &found {
        if let Some(job) = by_seq(step, *seq)? {
            remove(step, job.seq, job.line, job.state, job.aside)?;
        }
    }
    left_group(step, Some(&name))?;
    step.wake();
    Ok(found.len() as u32)
}

/// Whether any member waits in a group of these queues and names.
pub(super) fn aggregates(conn: &Connection, queues: &[QueueName], names: &[Pattern]) -> Done<bool> {
    if names.is_empty() {
        return Ok(false);
    }
    for queue in queues {
        let (mut past, end) = (format!("{queue}\u{1f}"), format!("{queue}\u{20}"));
        while let Some(found) = next(conn, &past, &end)? {
            if group_of(&found).is_some_and(|key| names.iter().any(|pattern| pattern.matches(&key.name))) {
                return Ok(true);
            }
            past = found;
        }
    }
    Ok(false)
}
