//! Takes lapsed leases, and buries jobs of kinds that no live server has declared for long.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::{
    Done, Step,
    change::{by_seq, line_up, note_error, settle},
    read::live_servers,
    sql,
};
use crate::{
    decide::rescue::{Fate, fate, is_suspect},
    job::{Cause, DeadReason, ErrorClass, Fence, Kind, KindFilter, QueueName},
    store::{RescueRules, Rescued, RescuedJob, SERVER_SILENT_AFTER, sqlite::clock::Clock},
};

/// The most leases to take at once.
const LEASES: u32 = 1000;

pub(in super::super) fn rescue(step: &mut Step<'_>, rules: &RescueRules) -> Done<Rescued> {
    step.counters.stamp(&step.clock, rules.lease, rules.ran_late);
    if !step.counters.pulse.may_rescue(step.clock.mono) {
        return Ok(Rescued::default());
    }
    let limit = rules.limit as usize;
    let mut members = Vec::new();
    let leases = lapsed(step.conn, &step.clock, LEASES)?;
    for lease in &leases {
        let mut statement = step.conn.prepare_cached(sql!("rescue_members"))?;
        let more = (limit + 1).saturating_sub(members.len());
        let found = statement.query_map(params![lease, more as i64], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        })?;
        members.extend(found.collect::<Result<Vec<_>, _>>()?);
    }
    // In the order in which they were claimed, whatever renewals have done to the leases since.
    members.sort_unstable();
    let more = members.len() > limit || leases.len() as u32 == LEASES;
    members.truncate(limit);
    let mut jobs = Vec::with_capacity(members.len());
    // The last one to go to the front stands first: so they keep their order.
    for (.., seq) in members.into_iter().rev() {
        jobs.extend(rescue_one(step, seq, rules)?);
    }
    jobs.reverse();
    for lease in leases {
        step.conn.prepare_cached(sql!("lease_drop"))?.execute([lease])?;
    }
    Ok(Rescued { jobs, more })
}

fn lapsed(conn: &Connection, clock: &Clock, limit: u32) -> Done<Vec<i64>> {
    let mut statement = conn.prepare_cached(sql!("lease_lapsed"))?;
    let found = statement.query_map(params![&*clock.boot, clock.mono.0, clock.far().0, limit], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn rescue_one(step: &mut Step<'_>, seq: i64, rules: &RescueRules) -> Done<Option<RescuedJob>> {
    let Some(mut job) = by_seq(step, seq)? else { return Ok(None) };
    let crashes = job.crashes + 1;
    let server = job.server.map(|server| server.to_string()).unwrap_or_default();
    note_error(step, &mut job, ErrorClass::Crash, &format!("the process that ran it vanished (server {server})"))?;
    step.conn.prepare_cached(sql!("tally"))?.execute(params![seq, job.failures, crashes, 0, None::<&[u8]>])?;
    let (queue, kind) = names(step, job.line)?;
    let fate = fate(crashes, rules.poison_after, job.cancel.is_some());
    match fate {
        Fate::Pending => line_up(step, &job, Cause::Rescue, true, is_suspect(crashes, rules.poison_after))?,
        Fate::Dead(reason) => settle(step, &job, fate.state(), Cause::Rescue, Some(reason.as_str()), None)?,
        Fate::Cancelled => settle(step, &job, fate.state(), Cause::Rescue, job.cancel.as_deref(), None)?,
    }
    Ok(Some(RescuedJob {
        id: job.id,
        kind: kind.as_str().into(),
        queue,
        fence: Fence(job.fence.unwrap_or(0) as u64),
        attempt: job.attempt,
        state: fate.state(),
    }))
}

fn names(step: &mut Step<'_>, line: i64) -> Done<(QueueName, Kind)> {
    step.lines.refresh(step.conn)?;
    step.lines
        .names(line)
        .cloned()
        .ok_or_else(|| crate::store::sqlite::fault::Fault::damaged("a job stands in a line that is not there"))
}

pub(in super::super) fn sweep_unknown(step: &mut Step<'_>, after: Duration, limit: u32) -> Done<u32> {
    let elapsed = step.counters.swept.map_or(Duration::ZERO, |swept| step.clock.now.since(swept));
    step.counters.swept = Some(step.clock.now);
    let kinds = |kinds: &[String]| KindFilter::of(kinds.iter().map(String::as_str)).unwrap_or_default();
    let servers: Vec<_> =
        live_servers(step.conn, step.clock.now)?.into_iter().map(|server| (kinds(&server.kinds), server)).collect();
    if servers.is_empty() {
        return Ok(0);
    }
    // A sweep that comes late (nobody was there to sweep) counts for little.
    let elapsed = elapsed.min(SERVER_SILENT_AFTER * 4);
    let mut buried = 0;
    for line in super::read::lines(step.conn)? {
        let declares = |(kinds, server): &(KindFilter, crate::store::ServerInfo)| {
            server.queues.iter().any(|(queue, _)| *queue == line.queue) && kinds.rule_for(line.kind.as_str()).is_some()
        };
        let declared = servers.iter().any(declares);
        let idle = line.outstanding() == 0;
        let undeclared = if declared || idle { Duration::ZERO } else { line.undeclared + elapsed };
        let micros = crate::job::micros(undeclared);
        step.conn.prepare_cached(sql!("undeclared"))?.execute(params![line.id, micros])?;
        if undeclared >= after && !declared && buried < limit {
            buried += bury_old(step, line.id, after, limit - buried)?;
        }
    }
    Ok(buried)
}

fn bury_old(step: &mut Step<'_>, line: i64, after: Duration, limit: u32) -> Done<u32> {
    let until = step.clock.now.before(after).as_micros();
    let mut statement = step.conn.prepare_cached(sql!("undeclared_jobs"))?;
    let found = statement.query_map(params![line, until, limit], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    drop(statement);
    for seq in &found {
        if let Some(mut job) = by_seq(step, *seq)? {
            note_error(step, &mut job, ErrorClass::UnknownKind, "no live server has handled its kind for long")?;
            let reason = DeadReason::UnknownKind.as_str();
            settle(step, &job, crate::job::State::Dead, Cause::Sweep, Some(reason), None)?;
        }
    }
    Ok(found.len() as u32)
}
