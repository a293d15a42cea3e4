//! What servers tell each other, and the burial of kinds that no live server handles.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::{Shared, read::servers, rows};
use crate::{
    job::{KindFilter, QueueName, ServerId, micros},
    store::{Result, SERVER_SILENT_AFTER, ServerInfo, StoreError},
};

type Params<'p> = [(&'p (dyn tokio_postgres::types::ToSql + Sync), Type)];

pub(in super::super) async fn beat(store: &Shared, server: &ServerInfo) -> Result<()> {
    let body = serde_json::to_string(server).map_err(|error| StoreError::Invalid(error.to_string()))?;
    let params: &Params<'_> = &[(&store.clock.wall(), Type::INT8), (&server.id.0, Type::UUID), (&body, Type::TEXT)];
    store.link.rows("SELECT windlass.beat($1, $2, $3)", params).await.map(drop)
}

pub(in super::super) async fn leave(store: &Shared, server: ServerId) -> Result<()> {
    let params: &Params<'_> = &[(&store.clock.wall(), Type::INT8), (&server.0, Type::UUID)];
    store.link.rows("SELECT windlass.leave($1, $2)", params).await.map(drop)
}

pub(in super::super) async fn sweep_unknown(store: &Shared, after: Duration, limit: u32) -> Result<u32> {
    let wall = store.clock.wall();
    let row = store.link.row("SELECT now_us, last_us FROM windlass.begin_sweep($1)", &[(&wall, Type::INT8)]).await?;
    let (now, last): (i64, Option<i64>) = (rows::get(&row, "now_us")?, rows::get(&row, "last_us")?);
    // A sweep that comes late (nobody was there to sweep) counts for little.
    let elapsed = rows::duration(last.map_or(0, |last| now - last)).min(SERVER_SILENT_AFTER * 4);
    let kinds = |kinds: &[String]| KindFilter::of(kinds.iter().map(String::as_str)).unwrap_or_default();
    let servers: Vec<_> = servers(store).await?.into_iter().map(|server| (kinds(&server.kinds), server)).collect();
    if servers.is_empty() {
        return Ok(0);
    }
    let (mut undeclared, mut declared) = (Vec::new(), Vec::new());
    let lines = "SELECT id, queue, kind, by_state[1] + by_state[2] + by_state[3] + by_state[5] + by_state[6] AS outstanding \
                 FROM windlass.line_count";
    for row in store.link.rows(lines, &[]).await? {
        let (queue, kind) = (QueueName::trusted(rows::get::<&str>(&row, "queue")?), rows::get::<&str>(&row, "kind")?);
        let declares = |(kinds, server): &(KindFilter, ServerInfo)| {
            server.queues.iter().any(|(name, _)| *name == queue) && kinds.rule_for(kind).is_some()
        };
        let idle = rows::get::<i64>(&row, "outstanding")? == 0;
        let to = if idle || servers.iter().any(declares) { &mut declared } else { &mut undeclared };
        to.push(rows::get::<i32>(&row, "id")?);
    }
    bury(store, &undeclared, &declared, elapsed, after, limit).await
}

async fn bury(
    store: &Shared,
    undeclared: &[i32],
    declared: &[i32],
    elapsed: Duration,
    after: Duration,
    limit: u32,
) -> Result<u32> {
    let params: &Params<'_> =
        &[(&undeclared, Type::INT4_ARRAY), (&declared, Type::INT4_ARRAY), (&micros(elapsed), Type::INT8)];
    let noted = store.link.rows("SELECT line, undeclared_us FROM windlass.note_undeclared($1, $2, $3)", params).await?;
    let mut buried = 0;
    for row in noted {
        if rows::duration(rows::get(&row, "undeclared_us")?) < after || buried >= limit {
            continue;
        }
        let left = i32::try_from(limit - buried).unwrap_or(i32::MAX);
        let params: &Params<'_> = &[
            (&store.clock.wall(), Type::INT8),
            (&rows::get::<i32>(&row, "line")?, Type::INT4),
            (&micros(after), Type::INT8),
            (&left, Type::INT4),
            (&micros(store.address.keep_failed), Type::INT8),
            (&"no live server has handled its kind for long", Type::TEXT),
        ];
        let row = store.link.row("SELECT windlass.bury_unknown($1, $2, $3, $4, $5, $6) AS many", params).await?;
        buried += u32::try_from(rows::get::<i32>(&row, "many")?).unwrap_or(0);
    }
    Ok(buried)
}
