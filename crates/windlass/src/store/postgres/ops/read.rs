//! What people and servers look at, but for listings and statistics.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

use super::{Shared, encode, rows};
use crate::{
    job::{Fence, JobId, JobRecord, KindFilter, Lease, LogLine, Monotonic, Pattern, QueueName, Timestamp},
    store::{
        CancelLog, CancelWish, Census, QueueCensus, Result, SERVER_SILENT_AFTER, ServerInfo,
        postgres::{
            link::{Param, sql},
            rows::Read,
        },
    },
};

/// The clocks of the store, now; nothing is stamped.
pub(in super::super) async fn clocks(store: &Shared) -> Result<Read> {
    let moment = store.clock.moment();
    let row = store
        .link
        .row(
            "SELECT wall, mono FROM windlass.tick($1, $2, $3, $4, 0, false)",
            &[
                (&moment.wall, Type::INT8),
                (&moment.start, Type::TEXT),
                (&moment.told, Type::INT8),
                (&moment.elapsed, Type::INT8),
            ],
        )
        .await?;
    let wall = rows::get(&row, "wall")?;
    store.clock.learn(&moment, wall);
    Ok(Read { wall: Timestamp::from_micros(wall), mono: Monotonic(rows::get(&row, "mono")?) })
}

pub(in super::super) async fn get(store: &Shared, id: &JobId) -> Result<Option<JobRecord>> {
    let moment = store.clock.moment();
    let id = id.to_string();
    let params: [Param<'_>; 5] = [
        (&moment.wall, Type::INT8),
        (&moment.start, Type::TEXT),
        (&moment.told, Type::INT8),
        (&moment.elapsed, Type::INT8),
        (&id, Type::TEXT),
    ];
    let found = store.link.rows(sql!("record_get"), &params).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let wall = rows::get(row, "wall")?;
    store.clock.learn(&moment, wall);
    let read = Read { wall: Timestamp::from_micros(wall), mono: Monotonic(rows::get(row, "mono")?) };
    let mut job = rows::record(row, read)?;
    job.checkpoint = rows::get::<Option<Vec<u8>>>(row, "checkpoint")?.map(Into::into);
    let lines: Vec<(u64, i64, u32, String)> = match rows::get::<Option<&str>>(row, "log")? {
        Some(json) => serde_json::from_str(json).map_err(|_| rows::odd("a log"))?,
        None => Vec::new(),
    };
    let line = |(number, at, attempt, line): (u64, i64, u32, String)| LogLine {
        number,
        at: Timestamp::from_micros(at),
        attempt,
        line: line.into(),
    };
    job.log = lines.into_iter().map(line).collect();
    job.waits_for = rows::get::<Option<&str>>(row, "waits_for")?.map(rows::id).transpose()?;
    Ok(Some(job))
}

pub(in super::super) async fn census(store: &Shared) -> Result<Census> {
    let mut census = Census::default();
    let mut queues: BTreeMap<QueueName, QueueCensus> = BTreeMap::new();
    for row in store.link.rows(sql!("census"), &[(&store.clock.wall(), Type::INT8)]).await? {
        census.now = Timestamp::from_micros(rows::get(&row, "now_us")?);
        let Some(name) = rows::get::<Option<&str>>(&row, "queue")? else { continue };
        census.enqueued += count(rows::get(&row, "enqueued")?);
        census.removed += count(rows::get(&row, "removed")?);
        let name = QueueName::trusted(name);
        let paused = rows::get(&row, "paused")?;
        let queue = queues.entry(name.clone()).or_insert_with(|| QueueCensus {
            name,
            paused,
            by_state: [0; 9],
            oldest_pending: None,
        });
        let counts: Vec<i64> = rows::get(&row, "by_state")?;
        queue.by_state.iter_mut().zip(counts).for_each(|(sum, more)| *sum += count(more));
        let oldest = rows::get::<Option<i64>>(&row, "oldest")?.map(Timestamp::from_micros);
        queue.oldest_pending = oldest.into_iter().chain(queue.oldest_pending).min();
    }
    census.queues = queues.into_values().collect();
    Ok(census)
}

pub(in super::super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(in super::super) async fn outstanding(
    store: &Shared,
    queues: &[QueueName],
    kinds: &KindFilter,
    groups: &[Pattern],
) -> Result<u64> {
    let queues: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
    let (kinds, kinds_exact) = encode::patterns(kinds.rules.iter().map(|rule| &rule.pattern));
    let (groups, groups_exact) = encode::patterns(groups.iter());
    let row = store
        .link
        .row(
            "SELECT windlass.outstanding($1, $2, $3, $4, $5) AS many",
            &[
                (&queues, Type::TEXT_ARRAY),
                (&kinds, Type::TEXT_ARRAY),
                (&kinds_exact, Type::BOOL_ARRAY),
                (&groups, Type::TEXT_ARRAY),
                (&groups_exact, Type::BOOL_ARRAY),
            ],
        )
        .await?;
    Ok(count(rows::get(&row, "many")?))
}

pub(in super::super) async fn servers(store: &Shared) -> Result<Vec<ServerInfo>> {
    let silent = crate::job::micros(SERVER_SILENT_AFTER);
    let found =
        store.link.rows(sql!("server_list"), &[(&store.clock.wall(), Type::INT8), (&silent, Type::INT8)]).await?;
    let mut servers = Vec::new();
    for row in found {
        // A newer process may say things of itself that we cannot read; it lives all the same, elsewhere.
        if let Ok(server) = serde_json::from_str::<ServerInfo>(rows::get(&row, "body")?) {
            servers.push(ServerInfo { seen_at: Timestamp::from_micros(rows::get(&row, "seen_at")?), ..server });
        }
    }
    Ok(servers)
}

pub(in super::super) async fn cancelled(store: &Shared, after: Option<u64>) -> Result<CancelLog> {
    let Some(after) = after else {
        let row = store.link.row("SELECT wish FROM windlass.counter", &[]).await?;
        return Ok(CancelLog { wishes: Vec::new(), last: count(rows::get(&row, "wish")?) });
    };
    let mut log = CancelLog { wishes: Vec::new(), last: after };
    let from = i64::try_from(after).unwrap_or(i64::MAX);
    for row in store.link.rows(sql!("wish_list"), &[(&from, Type::INT8)]).await? {
        log.last = count(rows::get(&row, "number")?);
        let fence = Fence(count(rows::get(&row, "fence")?));
        let lease = Lease { id: rows::id(rows::get(&row, "id")?)?, fence };
        log.wishes.push(CancelWish { lease, reason: rows::get::<&str>(&row, "reason")?.into() });
    }
    Ok(log)
}
