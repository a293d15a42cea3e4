//! Locks: a row for each hold and for each place in line.

use std::time::Duration;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{super::clock::Clock, Done, Step, sql};
use crate::{
    decide::lock::{Grant, Standing, grant},
    job::{Fence, LockName, Monotonic, Timestamp},
    store::{Hold, LockHolder, LockInfo, LockPage, LockReply, LockRequest, MAX_HOLDERS_SHOWN},
};

/// The most dead waiters that one call takes out of a line.
const SWEPT: i64 = 100;

/// What is under a lock's name, for one who asks.
struct Found {
    /// The fence of the hold that the asker has.
    own: Option<i64>,
    /// The place that it has, and until when.
    place: Option<(i64, Monotonic)>,
    there: Standing,
    /// When something lapses that stands in the way.
    lapses: Option<Monotonic>,
}

fn find(conn: &Connection, clock: &Clock, name: &LockName, token: Uuid, slots: u32) -> Done<Found> {
    let (boot, now) = (&*clock.boot, clock.mono.0);
    let asked = params![name.as_str(), token.as_bytes(), boot, now];
    let row = conn.prepare_cached(sql!("lock_standing"))?.query_row(asked, |row| {
        let place = row.get::<_, Option<i64>>(3)?.zip(row.get::<_, Option<i64>>(4)?);
        Ok((row.get(0)?, row.get::<_, u32>(1)?, row.get::<_, Option<i64>>(2)?, place, row.get::<_, Option<u32>>(5)?))
    })?;
    let (own, held, first_hold, place, asked_slots) = row;
    let before = params![name.as_str(), boot, now, place.map_or(i64::MAX, |(place, _)| place)];
    let (ahead, first_place) = conn
        .prepare_cached(sql!("lock_ahead"))?
        .query_row(before, |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    let first_place = first_place.filter(|_| held < slots);
    Ok(Found {
        own,
        place: place.map(|(place, until)| (place, Monotonic(until))),
        there: Standing { held, ahead, slots: asked_slots },
        lapses: first_hold.into_iter().chain(first_place).min().map(Monotonic),
    })
}

fn busy(clock: &Clock, found: &Found) -> LockReply {
    let retry_in = found.lapses.map_or(Duration::ZERO, |at| at.since(clock.mono));
    LockReply::Busy { retry_in, ahead: found.there.ahead }
}

/// A look before any transaction: an answer if there is nothing to take and no place that must be kept for longer.
pub(in super::super) fn peek(conn: &Connection, clock: &Clock, request: &LockRequest) -> Done<Option<LockReply>> {
    let found = find(conn, clock, &request.name, request.token, request.slots)?;
    if found.own.is_some() {
        return Ok(None);
    }
    Ok(match grant(found.there, request.slots) {
        Grant::Take => None,
        Grant::OtherSlots(slots) => Some(LockReply::OtherSlots(slots)),
        Grant::Wait => {
            let kept = |place| found.place.is_some_and(|(_, until)| until > clock.mono.after(place / 2));
            request.place.is_none_or(kept).then(|| busy(clock, &found))
        }
    })
}

pub(in super::super) fn acquire(step: &mut Step<'_>, request: &LockRequest) -> Done<LockReply> {
    let name = request.name.as_str();
    let swept = params![name, &*step.clock.boot, step.clock.mono.0, SWEPT];
    step.conn.prepare_cached(sql!("lock_line_dead"))?.execute(swept)?;
    let found = find(step.conn, &step.clock, &request.name, request.token, request.slots)?;
    if let Some(fence) = found.own {
        let hold = Hold { name: request.name.clone(), token: request.token, fence: Fence(fence as u64) };
        extend(step, &hold, request.ttl)?;
        return Ok(LockReply::Held(hold.fence));
    }
    match grant(found.there, request.slots) {
        Grant::OtherSlots(slots) => Ok(LockReply::OtherSlots(slots)),
        Grant::Take => take(step, request),
        Grant::Wait => {
            if let Some(place) = request.place {
                let until = step.clock.mono.after(place).0;
                let place = found.place.map_or_else(|| step.next_fence(), |(place, _)| place);
                let token = request.token.as_bytes();
                let row = params![name, place, token, request.slots, &*step.clock.boot, until];
                step.conn.prepare_cached(sql!("lock_wait"))?.execute(row)?;
            }
            Ok(busy(&step.clock, &found))
        }
    }
}

fn take(step: &mut Step<'_>, request: &LockRequest) -> Done<LockReply> {
    let (name, token) = (request.name.as_str(), request.token.as_bytes());
    let lapsed = params![name, &*step.clock.boot, step.clock.mono.0, request.slots];
    step.conn.prepare_cached(sql!("lock_lapsed"))?.execute(lapsed)?;
    step.conn.prepare_cached(sql!("lock_line_leave"))?.execute(params![name, token])?;
    let (fence, until) = (step.next_fence(), step.clock.mono.after(request.ttl).0);
    let now = step.now();
    let row = params![name, token, fence, request.slots, &*request.holder, now, &*step.clock.boot, until];
    step.conn.prepare_cached(sql!("lock_take"))?.execute(row)?;
    Ok(LockReply::Held(Fence(fence as u64)))
}

pub(in super::super) fn extend(step: &Step<'_>, hold: &Hold, ttl: Duration) -> Done<bool> {
    let (fence, until) = (hold.fence.0 as i64, step.clock.mono.after(ttl).0);
    let row = params![hold.name.as_str(), hold.token.as_bytes(), fence, &*step.clock.boot, until];
    Ok(step.conn.prepare_cached(sql!("lock_extend"))?.execute(row)? > 0)
}

pub(in super::super) fn release(step: &mut Step<'_>, name: &LockName, token: Uuid, fence: Option<Fence>) -> Done<bool> {
    let fence = fence.map(|fence| fence.0 as i64);
    let (name, token) = (name.as_str(), token.as_bytes());
    let held = step.conn.prepare_cached(sql!("lock_release"))?.execute(params![name, token, fence])? > 0;
    let waited = step.conn.prepare_cached(sql!("lock_line_leave"))?.execute(params![name, token])? > 0;
    if held || waited {
        step.wake();
    }
    Ok(held)
}

pub(in super::super) fn break_lock(step: &mut Step<'_>, name: &LockName) -> Done<u32> {
    let held = find(step.conn, &step.clock, name, Uuid::nil(), 1)?.there.held;
    if step.conn.prepare_cached(sql!("lock_break"))?.execute([name.as_str()])? > 0 {
        step.wake();
    }
    Ok(held)
}

pub(in super::super) fn page(conn: &Connection, clock: &Clock, after: Option<&LockName>, limit: u32) -> Done<LockPage> {
    let limit = limit.min(1000) as usize;
    let past = after.map_or("", LockName::as_str);
    let mut statement = conn.prepare_cached(sql!("lock_names"))?;
    let names = statement.query_map(params![&*clock.boot, clock.mono.0, past, limit as i64 + 1], |row| {
        Ok(LockName::trusted(row.get::<_, String>(0)?))
    })?;
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    let more = names.len() > limit;
    names.truncate(limit);
    let items = names.iter().map(|name| info(conn, clock, name)).collect::<Done<Vec<_>>>()?;
    Ok(LockPage { items, next: names.pop().filter(|_| more) })
}

fn info(conn: &Connection, clock: &Clock, name: &LockName) -> Done<LockInfo> {
    let there = find(conn, clock, name, Uuid::nil(), 1)?.there;
    let mut statement = conn.prepare_cached(sql!("lock_holders"))?;
    let asked = params![name.as_str(), &*clock.boot, clock.mono.0, MAX_HOLDERS_SHOWN as i64];
    let holders = statement.query_map(asked, |row| {
        let left = Monotonic(row.get(3)?).since(clock.mono);
        let since = Timestamp::from_micros(row.get(2)?);
        Ok(LockHolder::new(Fence(row.get::<_, i64>(0)? as u64), row.get::<_, String>(1)?, since, left))
    })?;
    let holders = holders.collect::<Result<_, _>>()?;
    // Without a place of its own, whoever looks has all waiters ahead.
    Ok(LockInfo::new(name.clone(), there.slots.unwrap_or(1), there.held, holders, there.ahead))
}
