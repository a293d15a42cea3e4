//! Takes pending jobs: merges the heads of the lines that the request may take from, never looking at the others.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Done, Step, lease, sql};
use crate::{
    decide::queues::QueueShare,
    job::{Fence, Kind, QueueName, State, Timestamp},
    store::{
        Claim, ClaimRequest, Claimed, ExtendRequest,
        sqlite::{clock::Clock, lines::Lines, rows},
    },
};

/// One line of a share: its number, kind and rule.
struct Open {
    line: i64,
    kind: Kind,
    rule: usize,
    quick: bool,
}

struct OpenShare {
    queue: QueueName,
    quota: u32,
    lines: Vec<Open>,
}

/// A look before any transaction: an answer if there is nothing to take, so that an idle claim writes nothing.
pub(in super::super) fn peek(
    conn: &Connection,
    lines: &mut Lines,
    clock: &Clock,
    request: &ClaimRequest,
) -> Done<Option<Claim>> {
    match seen(conn, request)? {
        Seen::Never => {}
        Seen::Last(_) => return Ok(None),
        Seen::Passed => return Ok(Some(Claim::default())),
    }
    let shares = open(conn, lines, request)?;
    let suspect = oldest_suspect(conn, &shares, request)?;
    let suspect_waiting = suspect.map(|(since, ..)| clock.now.since(since));
    if request.suspect {
        return Ok(suspect.is_none().then(Claim::default));
    }
    let mut heads = conn.prepare_cached(sql!("claim_heads"))?;
    for open in shares.iter().flat_map(|share| &share.lines) {
        let has_room = request.kinds.rules[open.rule].room != Some(0) && (open.quick || request.slots > 0);
        if has_room && heads.exists(params![open.line, 1])? {
            return Ok(None);
        }
    }
    Ok(Some(Claim { jobs: Vec::new(), suspect_waiting }))
}

pub(in super::super) fn claim(step: &mut Step<'_>, request: &ClaimRequest) -> Done<Claim> {
    match seen(step.conn, request)? {
        Seen::Never => {}
        Seen::Last(lease) => return repeat(step, request, lease),
        Seen::Passed => return Ok(Claim::default()),
    }
    let shares = open(step.conn, step.lines, request)?;
    let suspect = oldest_suspect(step.conn, &shares, request)?;
    let suspect_waiting = suspect.as_ref().map(|(since, ..)| step.clock.now.since(*since));
    let picked = if request.suspect {
        suspect.map(|(_, seq, share, open)| (seq, share, open)).into_iter().collect()
    } else {
        pick(step.conn, &shares, request)?
    };
    let fence = step.next_fence();
    let note = params![request.server, request.sequence, fence, step.clock.mono.0];
    step.conn.prepare_cached(sql!("claim_note"))?.execute(note)?;
    if picked.is_empty() {
        return Ok(Claim { jobs: Vec::new(), suspect_waiting });
    }
    let until = step.clock.mono.after(request.lease).0;
    let lease = params![fence, request.server, &*step.clock.boot, until];
    step.conn.prepare_cached(sql!("lease_put"))?.execute(lease)?;
    let conn = step.conn;
    let mut read = conn.prepare_cached(sql!("claim_read"))?;
    let mut update = conn.prepare_cached(sql!("claim_take"))?;
    let mut jobs = Vec::with_capacity(picked.len());
    for (seq, share, open) in picked {
        let share = &shares[share];
        let (queue, kind) = (share.queue.clone(), share.lines[open].kind.clone());
        let row = read.query_row([seq], |row| claimed(row, queue, kind, fence, step.clock.now)).optional()?;
        let Some(mut taken) = row else { continue };
        update.execute(params![seq, fence, request.server, step.now()])?;
        step.moved(taken.line, Some(State::Pending), Some(State::Running));
        if taken.aside {
            fetch_aside(conn, seq, &mut taken.job)?;
        }
        taken.job.attempt = taken.job.failures + 1;
        jobs.push(taken.job);
    }
    Ok(Claim { jobs, suspect_waiting })
}

/// Whether the store knows a claim's number.
enum Seen {
    Never,
    /// It is the server's last one; its lease.
    Last(i64),
    /// There was a later one: this one was delayed on its way, and nobody waits for its answer.
    Passed,
}

fn seen(conn: &Connection, request: &ClaimRequest) -> Done<Seen> {
    let mut statement = conn.prepare_cached(sql!("claim_last"))?;
    let last = statement.query_row([request.server], |row| Ok((row.get::<_, u64>(0)?, row.get(1)?))).optional()?;
    Ok(match last {
        Some((sequence, lease)) if sequence == request.sequence => Seen::Last(lease),
        Some((sequence, _)) if sequence > request.sequence => Seen::Passed,
        _ => Seen::Never,
    })
}

/// What the claim gave before and its server still holds. Who asks again counts its time from this request, so the
/// leases do, too.
fn repeat(step: &mut Step<'_>, request: &ClaimRequest, lease: i64) -> Done<Claim> {
    let jobs = still_held(step, request, lease)?;
    let leases = jobs.iter().map(Claimed::lease).collect();
    let renewal = ExtendRequest { server: request.server, leases, lease: request.lease, ran_late: false };
    lease::extend(step, &renewal)?;
    Ok(Claim { jobs, suspect_waiting: None })
}

/// The lines that the request may take from, by share. Paused queues have none.
fn open(conn: &Connection, lines: &mut Lines, request: &ClaimRequest) -> Done<Vec<OpenShare>> {
    lines.refresh(conn)?;
    let mut statement = conn.prepare_cached(sql!("paused"))?;
    let paused = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let opened = |share: &QueueShare| OpenShare { queue: share.queue.clone(), quota: share.quota, lines: Vec::new() };
    let mut shares: Vec<_> = request.shares.iter().map(opened).collect();
    // From the lines that have jobs, and not from the shares: a store remembers every kind that it has ever seen.
    let mut filled = conn.prepare_cached(sql!("claim_lines"))?;
    let filled = filled.query_map([], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()?;
    for line in filled {
        let Some((queue, kind)) = lines.names(line) else { continue };
        let Some(share) = shares.iter_mut().find(|share| share.queue == *queue) else { continue };
        let Some(rule) = request.kinds.rule_for(kind.as_str()) else { continue };
        if !paused.iter().any(|name| name == queue.as_str()) {
            share.lines.push(Open { line, kind: kind.clone(), rule, quick: request.quick.contains(kind) });
        }
    }
    Ok(shares)
}

type Suspect = (Timestamp, i64, usize, usize);

/// The suspect that has waited longest: since when, its seq, and its place among the shares.
fn oldest_suspect(conn: &Connection, shares: &[OpenShare], request: &ClaimRequest) -> Done<Option<Suspect>> {
    let mut statement = conn.prepare_cached(sql!("claim_suspect"))?;
    let mut oldest: Option<Suspect> = None;
    for (at, share) in shares.iter().enumerate() {
        let has_room = |(_, open): &(usize, &Open)| request.kinds.rules[open.rule].room != Some(0);
        for (place, open) in share.lines.iter().enumerate().filter(has_room) {
            let found = statement.query_row([open.line], |row| {
                Ok((Timestamp::from_micros(row.get::<_, Option<i64>>(0)?.unwrap_or(0)), row.get(1)?, at, place))
            });
            oldest = found.optional()?.into_iter().chain(oldest).min();
        }
    }
    Ok(oldest)
}

/// The jobs to take, as (seq, share, line of the share): quotas first, then whatever fills the limit.
fn pick(conn: &Connection, shares: &[OpenShare], request: &ClaimRequest) -> Done<Vec<(i64, usize, usize)>> {
    let mut heads = shares.iter().map(|share| heads(conn, share, request)).collect::<Done<Vec<_>>>()?;
    let mut room: Vec<u32> = request.kinds.rules.iter().map(|rule| rule.room.unwrap_or(u32::MAX)).collect();
    let mut slots = request.slots;
    let mut picked = Vec::new();
    let quotas = shares.iter().map(|share| share.quota).chain(shares.iter().map(|_| request.limit));
    for (turn, quota) in quotas.enumerate() {
        let at = turn % shares.len();
        let left = request.limit as usize - picked.len();
        let mut wanted = left.min(quota as usize);
        while wanted > 0
            && let Some(Reverse((_, _, seq, place))) = heads[at].pop()
        {
            let open = &shares[at].lines[place];
            let room = &mut room[open.rule];
            if *room > 0 && (open.quick || slots > 0) {
                *room -= u32::from(*room != u32::MAX);
                slots -= u32::from(!open.quick);
                picked.push((seq, at, place));
                wanted -= 1;
            }
        }
    }
    Ok(picked)
}

/// The first jobs of all lines of a share: by priority, then place in line.
type Heads = BinaryHeap<Reverse<(Reverse<i8>, i64, i64, usize)>>;

fn heads(conn: &Connection, share: &OpenShare, request: &ClaimRequest) -> Done<Heads> {
    let mut heads = Heads::new();
    let mut statement = conn.prepare_cached(sql!("claim_heads"))?;
    for (place, open) in share.lines.iter().enumerate() {
        let most = if open.quick { request.limit } else { request.limit.min(request.slots) };
        let mut rows = statement.query(params![open.line, most])?;
        while let Some(row) = rows.next()? {
            heads.push(Reverse((Reverse(row.get(0)?), row.get(1)?, row.get(2)?, place)));
        }
    }
    Ok(heads)
}

/// A job as it is handed out.
struct Taken {
    job: Claimed,
    line: i64,
    aside: bool,
}

fn claimed(row: &Row<'_>, queue: QueueName, kind: Kind, fence: i64, started: Timestamp) -> rusqlite::Result<Taken> {
    let pending = row.get::<_, Option<i64>>(17)?.map_or(started, Timestamp::from_micros);
    let job = Claimed {
        spec: Arc::new(rows::spec(row, queue, kind)?),
        fence: Fence(fence as u64),
        attempt: row.get(18)?,
        failures: row.get(13)?,
        crashes: row.get(14)?,
        snoozes: row.get(15)?,
        created_at: Timestamp::from_micros(row.get(16)?),
        waited: started.since(pending),
        checkpoint: None,
    };
    Ok(Taken { job, line: row.get(11)?, aside: row.get(12)? })
}

/// What stands in other tables: a big payload and its extras, the checkpoint of an earlier run.
fn fetch_aside(conn: &Connection, seq: i64, claimed: &mut Claimed) -> Done<()> {
    let spec = Arc::make_mut(&mut claimed.spec);
    let mut statement = conn.prepare_cached(sql!("side_read"))?;
    let found = statement.query_row([seq], |row| Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get(1)?))).optional()?;
    // An error history or a checkpoint may be aside alone; then the payload stands in the row.
    if let Some((Some(payload), extras)) = found {
        spec.payload = payload.into();
        rows::set_extras(spec, Option::<String>::as_deref(&extras));
    }
    let mut statement = conn.prepare_cached(sql!("checkpoint_read"))?;
    let checkpoint: Option<Vec<u8>> = statement.query_row([seq], |row| row.get(0)).optional()?;
    claimed.checkpoint = checkpoint.map(Into::into);
    Ok(())
}

fn still_held(step: &mut Step<'_>, request: &ClaimRequest, fence: i64) -> Done<Vec<Claimed>> {
    step.lines.refresh(step.conn)?;
    let mut statement = step.conn.prepare_cached(sql!("claim_held"))?;
    let mut found = statement.query(params![fence, request.server])?;
    let mut jobs = Vec::new();
    while let Some(row) = found.next()? {
        let (line, seq): (i64, i64) = (row.get(11)?, row.get(20)?);
        let Some((queue, kind)) = step.lines.names(line) else { continue };
        let started = row.get::<_, Option<i64>>(19)?.map_or(step.clock.now, Timestamp::from_micros);
        let mut taken = claimed(row, queue.clone(), kind.clone(), fence, started)?;
        if taken.aside {
            fetch_aside(step.conn, seq, &mut taken.job)?;
        }
        jobs.push(taken.job);
    }
    Ok(jobs)
}
