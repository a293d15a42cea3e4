//! Puts due jobs into line, at its end, or into their group.

use rusqlite::{Connection, params};

use super::{
    Done, Step,
    change::{by_seq, join, line_up},
    finish::is_suspect,
    sql,
};
use crate::{
    job::{Cause, State, Timestamp},
    store::{Promoted, sqlite::clock::Clock},
};

/// A look before any transaction: an answer if nothing is due.
pub(in super::super) fn peek(conn: &Connection, clock: &Clock) -> Done<Option<Promoted>> {
    let next = next_due(conn)?;
    if next.is_some_and(|at| at <= clock.now) {
        return Ok(None);
    }
    Ok(Some(Promoted { moved: 0, next_due: next.map(|at| at.since(clock.now)) }))
}

pub(in super::super) fn promote(step: &mut Step<'_>, limit: u32) -> Done<Promoted> {
    let mut statement = step.conn.prepare_cached(sql!("due"))?;
    let due = statement.query_map(params![step.now(), limit], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    drop(statement);
    for seq in &due {
        if let Some(job) = by_seq(step, *seq)? {
            if job.grouped() && job.state == State::Scheduled {
                join(step, &job, Cause::Promote)?;
                continue;
            }
            let suspect = is_suspect(step, *seq)?;
            line_up(step, &job, Cause::Promote, false, suspect)?;
        }
    }
    let next = next_due(step.conn)?;
    Ok(Promoted { moved: due.len() as u32, next_due: next.map(|at| at.since(step.clock.now)) })
}

fn next_due(conn: &Connection) -> Done<Option<Timestamp>> {
    let next: Option<i64> = conn.prepare_cached(sql!("due_next"))?.query_row([], |row| row.get(0))?;
    Ok(next.map(Timestamp::from_micros))
}
