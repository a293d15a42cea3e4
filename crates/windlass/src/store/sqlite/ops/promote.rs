//! Puts due jobs into line, at its end, or into their group: as many as the rules let into it.

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;

use super::{
    Done, Step,
    change::{by_seq, join, stand},
    finish::is_suspect,
    sql,
};
use crate::{
    decide::flood::{Due, DueLine, choose, share},
    job::{Cause, QueueName, State, Timestamp},
    store::{
        PromoteRules, Promoted,
        sqlite::{clock::Clock, lines::Lines},
    },
};

/// Where jobs of one line and priority wait for their time.
struct Place {
    number: i64,
    queue: QueueName,
    /// When the first of them is due.
    at: Timestamp,
    /// How many more may come into line.
    room: u32,
}

/// A look before any transaction: an answer if nothing is due, or what is due is held back.
pub(in super::super) fn peek(
    conn: &Connection,
    lines: &mut Lines,
    clock: &Clock,
    rules: &PromoteRules,
) -> Done<Option<Promoted>> {
    let places = places(conn, lines, clock.now, rules)?;
    let may_come = |place: &Place| place.at <= clock.now && (place.room > 0 || beyond(rules, &place.queue) > 0);
    Ok((!places.iter().any(may_come)).then(|| told(0, &places, clock.now)))
}

pub(in super::super) fn promote(step: &mut Step<'_>, rules: &PromoteRules) -> Done<Promoted> {
    let now = step.clock.now;
    let chosen = choose_due(step, rules)?;
    for due in &chosen {
        if let Some(job) = by_seq(step, due.seq)? {
            if job.grouped() && job.state == State::Scheduled {
                join(step, &job, Cause::Promote)?;
                continue;
            }
            let suspect = is_suspect(step, due.seq)?;
            stand(step, &job, Cause::Promote, suspect)?;
        }
    }
    Ok(told(chosen.len() as u32, &places(step.conn, step.lines, now, rules)?, now))
}

fn choose_due(step: &mut Step<'_>, rules: &PromoteRules) -> Done<Vec<Due>> {
    let mut places = places(step.conn, step.lines, step.clock.now, rules)?;
    places.retain(|place| place.at <= step.clock.now);
    let (mut queues, mut allowed, mut lines, mut due) = (FxHashMap::default(), Vec::new(), Vec::new(), Vec::new());
    let mut statement = step.conn.prepare_cached(sql!("due"))?;
    for (line, place) in places.iter().enumerate() {
        let beyond = beyond(rules, &place.queue);
        let queue = *queues.entry(&place.queue).or_insert_with(|| {
            allowed.push(beyond);
            allowed.len() - 1
        });
        lines.push(DueLine { queue, room: place.room });
        let most = place.room.saturating_add(beyond).min(rules.limit);
        let mut rows = statement.query(params![place.number, step.now(), most])?;
        while let Some(row) = rows.next()? {
            due.push(Due { at: row.get(0)?, seq: row.get(1)?, line });
        }
    }
    Ok(choose(due, &lines, &allowed, rules.limit))
}

fn beyond(rules: &PromoteRules, queue: &QueueName) -> u32 {
    rules.beyond.get(queue).copied().unwrap_or(0)
}

fn told(moved: u32, places: &[Place], now: Timestamp) -> Promoted {
    let held = |place: &&Place| place.at <= now && place.room == 0;
    let next_due = places.iter().filter(|place| !held(place)).map(|place| place.at.since(now)).min();
    Promoted { moved, next_due, held_back: places.iter().any(|place| held(&place)) }
}

/// The places where jobs wait. Only into those where one is due it is counted how many more may come.
fn places(conn: &Connection, lines: &mut Lines, now: Timestamp, rules: &PromoteRules) -> Done<Vec<Place>> {
    let mut statement = conn.prepare_cached(sql!("due_places"))?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows = rows.collect::<Result<Vec<(i64, i64)>, _>>()?;
    if !rows.is_empty() {
        lines.refresh(conn)?;
    }
    let mut places = Vec::with_capacity(rows.len());
    let mut sharing: FxHashMap<QueueName, usize> = FxHashMap::default();
    for (number, at) in rows {
        let Some((queue, _)) = lines.names(line_of(number)) else { continue };
        let place = Place { number, queue: queue.clone(), at: Timestamp::from_micros(at), room: u32::MAX };
        if place.at <= now {
            *sharing.entry(place.queue.clone()).or_default() += 1;
        }
        places.push(place);
    }
    let mut standing = conn.prepare_cached(sql!("due_standing"))?;
    for place in places.iter_mut().filter(|place| place.at <= now) {
        let share = share(rules.look_ahead, sharing[&place.queue]);
        if share < u32::MAX {
            let line = line_of(place.number);
            let many: u32 = standing.query_row(params![line, line * 256 - place.number, share], |row| row.get(0))?;
            place.room = share.saturating_sub(many);
        }
    }
    Ok(places)
}

/// Priorities reach from -127 to 127.
fn line_of(place: i64) -> i64 {
    (place + 127).div_euclid(256)
}
