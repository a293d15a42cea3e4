//! What people look at. Every answer is bounded; nothing here writes.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Done, change::holder, groups::aggregates, report, sql};
use crate::{
    job::{
        Cursor, Fence, JobFilter, JobId, JobPage, JobRecord, Kind, KindFilter, Lease, Pattern, QueueName, State,
        Timestamp,
    },
    store::{
        CancelLog, CancelWish, Census, QueueCensus, SERVER_SILENT_AFTER, ServerInfo, Tallies, TallyLine,
        sqlite::{
            clock::Clock,
            rows::{IdColumn, member_of, record},
            step::bucket_of,
        },
    },
};

/// The most jobs that one page looks at.
const PAGE_LOOKS_AT: i64 = 10_000;

pub(in super::super) fn get(conn: &Connection, clock: &Clock, id: &JobId) -> Done<Option<JobRecord>> {
    let mut statement = conn.prepare_cached(sql!("record_get"))?;
    let found = statement.query_row([IdColumn(id)], |row| Ok((row.get("seq")?, record(row, clock)?))).optional()?;
    let Some((seq, mut job)) = found else { return Ok(None) };
    report::read(conn, seq, &mut job, true)?;
    if job.state == State::Blocked {
        let key = job.spec.exclusive.as_deref().map(|key| member_of(&job.spec.queue, key));
        job.waits_for = holder(conn, key.as_deref())?;
    }
    Ok(Some(job))
}

pub(in super::super) fn list(
    conn: &Connection,
    clock: &Clock,
    filter: &JobFilter,
    after: Option<Cursor>,
    limit: u32,
) -> Done<JobPage> {
    let (from, limit) = (after.map_or(0, |cursor| cursor.0), limit.min(1000) as usize);
    if filter.states.is_empty() || filter.states.contains(&State::Pending) {
        return list_all(conn, clock, filter, from, limit);
    }
    // Few jobs of a million may be in these states: their indexes know them.
    let mut seqs = Vec::new();
    for state in &filter.states {
        let (sql, params) = match state {
            State::Running => (sql!("list_running"), vec![from, PAGE_LOOKS_AT + 1]),
            other => (sql!("list_state"), vec![other.code().into(), from, PAGE_LOOKS_AT + 1]),
        };
        let mut statement = conn.prepare_cached(sql)?;
        let found = statement.query_map(rusqlite::params_from_iter(params), |row| row.get::<_, i64>(0))?;
        seqs.extend(found.collect::<Result<Vec<_>, _>>()?);
    }
    seqs.sort_unstable();
    seqs.dedup();
    let mut page = JobPage::default();
    let mut statement = conn.prepare_cached(sql!("record_by_seq"))?;
    for (looked, seq) in seqs.iter().enumerate() {
        if page.items.len() >= limit || looked as i64 >= PAGE_LOOKS_AT {
            page.next = Some(Cursor(seq - 1));
            break;
        }
        let found = statement.query_row([seq], |row| record(row, clock)).optional()?;
        if let Some(mut job) = found.filter(|job| filter.matches(job)) {
            report::read(conn, *seq, &mut job, false)?;
            page.items.push(job);
        }
    }
    Ok(page)
}

fn list_all(conn: &Connection, clock: &Clock, filter: &JobFilter, from: i64, limit: usize) -> Done<JobPage> {
    let mut page = JobPage::default();
    let mut statement = conn.prepare_cached(sql!("record_page"))?;
    let mut rows = statement.query(params![from, PAGE_LOOKS_AT + 1])?;
    let mut looked = 0;
    while let Some(row) = rows.next()? {
        if page.items.len() >= limit || looked >= PAGE_LOOKS_AT {
            page.next = Some(Cursor(row.get::<_, i64>("seq")? - 1));
            break;
        }
        looked += 1;
        let mut job = record(row, clock)?;
        if filter.matches(&job) {
            report::read(conn, row.get("seq")?, &mut job, false)?;
            page.items.push(job);
        }
    }
    Ok(page)
}

/// The counts of one line.
pub(super) struct LineCount {
    pub(super) id: i64,
    pub(super) queue: QueueName,
    pub(super) kind: Kind,
    paused: bool,
    by_state: [u64; 9],
    pub(super) undeclared: std::time::Duration,
}

impl LineCount {
    /// Jobs that a draining server has still to see to the end.
    pub(super) fn outstanding(&self) -> u64 {
        let states = [State::Pending, State::Blocked, State::Running, State::Scheduled, State::Retrying];
        states.iter().map(|state| self.by_state[state.code() as usize]).sum()
    }
}

pub(super) fn lines(conn: &Connection) -> Done<Vec<LineCount>> {
    let mut statement = conn.prepare_cached(sql!("census"))?;
    let found = statement.query_map([], |row| {
        let mut by_state = [0; 9];
        for (code, count) in by_state.iter_mut().enumerate() {
            *count = u64::try_from(row.get::<_, i64>(code + 3)?).unwrap_or(0);
        }
        Ok(LineCount {
            id: row.get(0)?,
            queue: QueueName::trusted(row.get::<_, String>(1)?),
            kind: Kind::trusted(row.get::<_, String>(12)?),
            paused: row.get(2)?,
            by_state,
            undeclared: super::super::rows::duration(row.get(13)?),
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(in super::super) fn census(conn: &Connection, clock: &Clock) -> Done<Census> {
    // One read transaction: the counts and the counters are of one moment.
    let snapshot = conn.unchecked_transaction()?;
    let counters = super::super::step::Counters::read(&snapshot)?;
    let mut queues: BTreeMap<QueueName, QueueCensus> = BTreeMap::new();
    for line in lines(&snapshot)? {
        let oldest = oldest_pending(&snapshot, line.id)?;
        let queue = queues.entry(line.queue.clone()).or_insert_with(|| QueueCensus {
            name: line.queue.clone(),
            paused: line.paused,
            by_state: [0; 9],
            oldest_pending: None,
        });
        queue.by_state.iter_mut().zip(line.by_state).for_each(|(sum, count)| *sum += count);
        queue.oldest_pending = oldest.into_iter().chain(queue.oldest_pending).min();
    }
    Ok(Census {
        enqueued: u64::try_from(counters.enqueued).unwrap_or(0),
        removed: u64::try_from(counters.removed).unwrap_or(0),
        queues: queues.into_values().collect(),
        now: clock.now,
    })
}

/// Since when the oldest job of a line has been pending: looks at two jobs of each priority.
fn oldest_pending(conn: &Connection, line: i64) -> Done<Option<Timestamp>> {
    type Ends = (i64, Option<i64>, Option<i64>);
    let ends = |row: &rusqlite::Row<'_>| Ok::<Ends, rusqlite::Error>((row.get(0)?, row.get(1)?, row.get(2)?));
    let mut oldest: Option<i64> = None;
    for sql in [sql!("head_since"), sql!("suspect_since")] {
        let mut statement = conn.prepare_cached(sql)?;
        let mut below: i64 = 1000;
        while let Some((priority, back, front)) = statement.query_row([line, below], ends).optional()? {
            oldest = back.into_iter().chain(front).chain(oldest).min();
            below = priority;
        }
    }
    Ok(oldest.map(Timestamp::from_micros))
}

pub(in super::super) fn outstanding(
    conn: &Connection,
    queues: &[QueueName],
    kinds: &KindFilter,
    groups: &[Pattern],
) -> Done<u64> {
    // One read transaction: a group that is flushed between two looks would be in neither.
    let conn = conn.unchecked_transaction()?;
    let handled = |line: &LineCount| queues.contains(&line.queue) && kinds.rule_for(line.kind.as_str()).is_some();
    let handled: u64 = lines(&conn)?.iter().filter(|line| handled(line)).map(LineCount::outstanding).sum();
    Ok(handled + u64::from(aggregates(&conn, queues, groups)?))
}

pub(in super::super) fn tallies(conn: &Connection, since: Timestamp) -> Done<Tallies> {
    let mut lines: BTreeMap<(String, String), crate::store::Bucket> = BTreeMap::new();
    let mut statement = conn.prepare_cached(sql!("tallies"))?;
    let mut rows = statement.query([since.minute()])?;
    while let Some(row) = rows.next()? {
        lines.entry((row.get(7)?, row.get(8)?)).or_default().merge(&bucket_of(row)?);
    }
    let mut tallies = Tallies::default();
    tallies.lines.extend(lines.into_iter().map(|((queue, kind), bucket)| TallyLine { queue, kind, bucket }));
    let mut statement = conn.prepare_cached(sql!("tenant_tallies"))?;
    let mut rows = statement.query([since.minute()])?;
    while let Some(row) = rows.next()? {
        tallies.tenants.entry(row.get(7)?).or_default().merge(&bucket_of(row)?);
    }
    Ok(tallies)
}

pub(in super::super) fn live_servers(conn: &Connection, now: Timestamp) -> Done<Vec<ServerInfo>> {
    let mut statement = conn.prepare_cached(sql!("server_list"))?;
    let mut rows = statement.query([now.before(SERVER_SILENT_AFTER).as_micros()])?;
    let mut servers = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(1)?;
        // A newer process may say things of itself that we cannot read; it lives all the same, elsewhere.
        if let Ok(server) = serde_json::from_str::<ServerInfo>(&body) {
            servers.push(ServerInfo { seen_at: Timestamp::from_micros(row.get(0)?), ..server });
        }
    }
    Ok(servers)
}

pub(in super::super) fn cancelled(conn: &Connection, after: Option<u64>) -> Done<CancelLog> {
    let Some(after) = after else {
        let last = super::super::step::Counters::read(conn)?.wish;
        return Ok(CancelLog { wishes: Vec::new(), last: u64::try_from(last).unwrap_or(0) });
    };
    let mut log = CancelLog { wishes: Vec::new(), last: after };
    let mut statement = conn.prepare_cached(sql!("wish_list"))?;
    let mut rows = statement.query([i64::try_from(after).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        log.last = row.get::<_, i64>(0)?.try_into().unwrap_or(after);
        let lease = Lease { id: row.get(1)?, fence: Fence(row.get::<_, i64>(2)? as u64) };
        log.wishes.push(CancelWish { lease, reason: row.get::<_, String>(3)?.into() });
    }
    Ok(log)
}
