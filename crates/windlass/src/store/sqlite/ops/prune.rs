//! Removes what may go, in steps: jobs past their retention, keys past their window, old numbers, silent servers.

use std::time::Duration;

use rusqlite::params;

use super::{Done, Step, change::remove, sql};
use crate::{
    job::State,
    store::{Prune, Pruned},
};

/// How long minute buckets are kept.
const KEEP_BUCKETS_MINUTES: i64 = 35 * 24 * 60;
/// How many wishes to cancel are kept; servers read them twice a second. Not by age: a stepped clock takes none away.
const KEEP_WISHES: i64 = 10_000;
/// How long the last claim of a server that is gone is remembered: longer than any call of it is under way.
const KEEP_CLAIM: Duration = Duration::from_secs(60);
/// How long silent servers are kept.
const KEEP_SERVERS: Duration = Duration::from_secs(24 * 3600);

/// How long what has lapsed of locks is kept for its holder to come back to.
const KEEP_LAPSED: Duration = Duration::from_secs(24 * 3600);

/// A look before any transaction: an answer if nothing may go.
pub(in super::super) fn peek(
    conn: &rusqlite::Connection,
    clock: &super::super::clock::Clock,
    what: &Prune,
) -> Done<Option<Pruned>> {
    if *what != Prune::Expired {
        return Ok(None);
    }
    let now = clock.now;
    let times = params![
        now.as_micros(),
        now.minute() - KEEP_BUCKETS_MINUTES,
        KEEP_WISHES,
        now.before(KEEP_SERVERS).as_micros(),
        clock.mono.0.saturating_sub(crate::job::micros(KEEP_CLAIM)),
        &*clock.boot,
        clock.mono.0.saturating_sub(crate::job::micros(KEEP_LAPSED)),
    ];
    let work: bool = conn.prepare_cached(sql!("prune_work"))?.query_row(times, |row| row.get(0))?;
    Ok((!work).then(Pruned::default))
}

pub(in super::super) fn prune(step: &mut Step<'_>, what: &Prune, limit: u32) -> Done<Pruned> {
    let limit = limit as usize;
    let mut found = Vec::new();
    let mut others_left = false;
    match what {
        Prune::Expired => {
            others_left = prune_others(step, limit)?;
            found = rows(step, sql!("expired"), params![step.now(), limit as i64 + 1])?;
        }
        Prune::Older { than, states } => {
            let until = step.clock.now.before(*than).as_micros();
            for state in State::ALL.iter().filter(|state| state.is_terminal() && states.contains(state)) {
                let more = (limit + 1).saturating_sub(found.len()) as i64;
                found.extend(rows(step, sql!("older"), params![state.code(), until, more])?);
            }
        }
    }
    let more = found.len() > limit || others_left;
    found.truncate(limit);
    for (seq, line, state, aside) in &found {
        remove(step, *seq, *line, *state, *aside)?;
    }
    Ok(Pruned { removed: found.len() as u64, more })
}

fn rows(step: &Step<'_>, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Done<Vec<(i64, i64, State, bool)>> {
    let mut statement = step.conn.prepare_cached(sql)?;
    let found = statement.query_map(params, |row| {
        Ok((row.get(0)?, row.get(1)?, super::super::rows::state(row, "state")?, row.get("side")?))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// What is no job. Says whether there may be more of it.
fn prune_others(step: &Step<'_>, limit: usize) -> Done<bool> {
    let now = step.clock.now;
    let oldest = now.minute() - KEEP_BUCKETS_MINUTES;
    let mut more = false;
    let mut drop = |sql: &str, until: i64| -> Done<()> {
        more |= step.conn.prepare_cached(sql)?.execute(params![until, limit as i64])? >= limit;
        Ok(())
    };
    drop(sql!("prune_keys"), now.as_micros())?;
    drop(sql!("prune_buckets"), oldest)?;
    drop(sql!("prune_tenant_buckets"), oldest)?;
    drop(sql!("prune_wishes"), step.counters.wish - KEEP_WISHES)?;
    drop(sql!("prune_servers"), now.before(KEEP_SERVERS).as_micros())?;
    drop(sql!("prune_claims"), step.clock.mono.0.saturating_sub(crate::job::micros(KEEP_CLAIM)))?;
    let lapsed = step.clock.mono.0.saturating_sub(crate::job::micros(KEEP_LAPSED));
    for sql in [sql!("prune_locks"), sql!("prune_lock_lines")] {
        let gone = step.conn.prepare_cached(sql)?.execute(params![&*step.clock.boot, lapsed, limit as i64])?;
        more |= gone >= limit;
    }
    Ok(more)
}
