//! What servers tell each other, and what they tell Asynq's tools.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use prost::Message;
use redis::Value;
use tracing::debug;

use super::{
    Shared, arg, entries,
    reply::{bytes, list, number, odd, text},
    runs, scripts,
};
use crate::{
    job::{Monotonic, ServerId, Timestamp, micros},
    store::{Result, SERVER_SILENT_AFTER, ServerInfo, redis::wire::ServerRecord},
};

/// How long Asynq's records of a server live after a sign of life.
const RECORD_SECONDS: i64 = 30;
/// How old a record may be that says what is still so.
const SHOW_AGAIN_AFTER: Duration = Duration::from_secs(12);

/// The most of Asynq's records that are read for what servers of Go's serve.
const MOST_RECORDS: i64 = 1_000;

/// The live servers.
pub(in super::super) struct Seen {
    /// The time since the last sweep.
    pub(super) elapsed: Duration,
    pub(in super::super) live: Vec<ServerInfo>,
}

pub(in super::super) async fn beat(store: &Arc<Shared>, server: &ServerInfo) -> Result<()> {
    let body = serde_json::to_vec(server).map_err(|_| odd("a server"))?;
    let args = vec![store.clock.pinned().into_bytes(), arg(server.id), body];
    let now = number(&store.on_store(&scripts::BEAT, args).await?)?;
    if let Err(error) = show_to_go(store, server, now).await {
        // Its tools then do not list this server; they need memory for that, and there may be none.
        debug!(%error, "no sign of life for Asynq's tools");
    }
    entries::show_at_times(store, now);
    Ok(())
}

/// Asynq's own records of a server and of what it runs, as of now.
async fn show_to_go(store: &Shared, server: &ServerInfo, now: i64) -> Result<()> {
    let (at, shown) = (store.env.monotonic(), record(server).encode_to_vec());
    let fresh = |(then, old): &(Monotonic, Vec<u8>)| *old == shown && at.since(*then) < SHOW_AGAIN_AFTER;
    // Whoever runs something shows what, and each time anew.
    if server.busy == 0 && store.shown.lock().get(&server.id).is_some_and(fresh) {
        return Ok(());
    }
    let (key, until) = (record_key(store, "servers", server), now / 1_000_000 + RECORD_SECONDS);
    let runs = if server.busy == 0 { Vec::new() } else { runs::records(store, server).await? };
    let busy = !runs.is_empty();
    let workers = record_key(store, "workers", server);
    let mut args = vec![shown.clone(), arg(RECORD_SECONDS), workers.clone().into_bytes()];
    args.extend(runs);
    store.link.eval(&scripts::SHOW, &key, &args).await?;
    for (index, key) in [("servers", &key), ("workers", &workers)].into_iter().take(1 + usize::from(busy)) {
        let mut add = redis::cmd("ZADD");
        add.arg(store.plain_key(index)).arg(until).arg(key);
        store.link.run(&add).await?;
    }
    store.shown.lock().insert(server.id, (at, shown));
    Ok(())
}

/// As Asynq names it.
fn record_key(store: &Shared, what: &str, server: &ServerInfo) -> String {
    store.plain_key(&format!("{what}:{{{}:{}:{}}}", server.host, server.pid, server.id))
}

fn record(server: &ServerInfo) -> ServerRecord {
    let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    ServerRecord {
        host: server.host.clone(),
        pid: small(server.pid),
        server_id: server.id.to_string(),
        concurrency: small(server.slots),
        queues: server.queues.iter().map(|(queue, weight)| (queue.to_string(), small(*weight))).collect(),
        strict_priority: false,
        status: if server.quiet { "stopped" } else { "active" }.into(),
        start_time: Some(server.started_at.into()),
        active_worker_count: small(server.busy),
    }
}

pub(in super::super) async fn leave(store: &Shared, server: ServerId) -> Result<()> {
    store.shown.lock().remove(&server);
    let live = servers(store, false).await?.live;
    let is_last = live.iter().all(|known| known.id == server);
    let known = last_said(store, server).await?;
    let mut forget = redis::cmd("HDEL");
    forget.arg(format!("{}servers", store.store_key())).arg(server.to_string());
    store.link.run(&forget).await?;
    if let Some(known) = known {
        for what in ["servers", "workers"] {
            let key = record_key(store, what, &known);
            let mut index = redis::cmd("ZREM");
            index.arg(store.plain_key(what)).arg(&key);
            store.link.run(&index).await?;
            store.link.run(redis::cmd("DEL").arg(&key)).await?;
        }
    }
    if is_last && let Err(error) = entries::hide(store).await {
        // They go by themselves, some seconds later.
        debug!(%error, "Asynq's tools go on showing our schedules for a while");
    }
    // A claim that was delayed on its way has been passed by.
    store.left.lock().insert(server, store.env.monotonic());
    for queue in store.all_queues().await? {
        if let Err(error) = store.on(&queue, &scripts::LEAVE, [arg(server)]).await {
            store.pass_over(&queue, error)?;
        }
    }
    Ok(())
}

/// What a server last said of itself, however long ago: its records for Asynq's tools may be there as long.
async fn last_said(store: &Shared, server: ServerId) -> Result<Option<ServerInfo>> {
    let mut ask = redis::cmd("HGET");
    ask.arg(format!("{}servers", store.store_key())).arg(server.to_string());
    Ok(match store.link.run(&ask).await? {
        Value::Nil => None,
        said => text(said)?.split_once(' ').and_then(|(_, body)| serde_json::from_str(body).ok()),
    })
}

/// Asks which servers Asynq's tools list, and which of ours were heard of within the last day.
pub(super) fn ask_listed(store: &Shared) -> [redis::Cmd; 2] {
    let (mut index, mut ours) = (redis::cmd("ZREVRANGE"), redis::cmd("HKEYS"));
    index.arg(store.plain_key("servers")).arg(0).arg(MOST_RECORDS - 1);
    ours.arg(format!("{}servers", store.store_key()));
    [index, ours]
}

/// The queues that live servers of Go's serve, by the answers. They do not say which kinds they handle.
pub(super) async fn served_by_go(store: &Shared, listed: Value, ours: Value) -> Result<BTreeSet<String>> {
    let ours = list(ours)?.into_iter().map(bytes).collect::<Result<Vec<_>>>()?;
    // A name ends with the server's id, in braces.
    let is_ours = |name: &Vec<u8>| ours.iter().any(|id| name.strip_suffix(b"}").is_some_and(|name| name.ends_with(id)));
    let mut gos = list(listed)?.into_iter().map(bytes).collect::<Result<Vec<_>>>()?;
    gos.retain(|name| !is_ours(name));
    if gos.is_empty() {
        return Ok(BTreeSet::new());
    }
    // What stands in the index may be gone; a record goes with its server, or some seconds later.
    let records = list(store.link.run(redis::cmd("MGET").arg(gos)).await?)?;
    let records = records.into_iter().filter_map(|record| ServerRecord::decode(&*bytes(record).ok()?).ok());
    Ok(records.flat_map(|record| record.queues.into_keys()).collect())
}

pub(in super::super) async fn servers(store: &Shared, sweeping: bool) -> Result<Seen> {
    let span = arg(micros(SERVER_SILENT_AFTER));
    let args = vec![store.clock.pinned().into_bytes(), span, arg(u8::from(sweeping))];
    let mut answer = list(store.on_store(&scripts::SERVERS, args).await?)?.into_iter();
    let mut next = || answer.next().ok_or_else(|| odd("servers"));
    // Now, which the answer begins with, is of no use here.
    next()?;
    let elapsed = number(&next()?)?;
    let mut live = Vec::new();
    while let (Some(seen), Some(body)) = (answer.next(), answer.next()) {
        let server: ServerInfo = serde_json::from_str(&text(body)?).map_err(|_| odd("a server"))?;
        live.push(ServerInfo { seen_at: Timestamp::from_micros(number(&seen)?), ..server });
    }
    live.sort_by_key(|server| server.id);
    Ok(Seen { elapsed: Duration::from_micros(u64::try_from(elapsed).unwrap_or(0)), live })
}
