//! What servers tell each other, and what they tell Asynq's tools.

use std::time::Duration;

use prost::Message;
use tracing::debug;

use super::{
    Shared, arg,
    reply::{list, number, odd, text},
    scripts,
};
use crate::{
    job::{Monotonic, ServerId, Timestamp, micros},
    store::{
        Result, SERVER_SILENT_AFTER, ServerInfo,
        redis::wire::{Moment, ServerRecord},
    },
};

/// How long Asynq's record of a server lives after a sign of life.
const RECORD_SECONDS: i64 = 30;
/// How old a record may be that says what is still so.
const SHOW_AGAIN_AFTER: Duration = Duration::from_secs(12);

/// The live servers.
pub(in super::super) struct Seen {
    pub(super) now: i64,
    /// The time since the last sweep.
    pub(super) elapsed: Duration,
    pub(in super::super) live: Vec<ServerInfo>,
}

pub(in super::super) async fn beat(store: &Shared, server: &ServerInfo) -> Result<()> {
    let body = serde_json::to_vec(server).map_err(|_| odd("a server"))?;
    let args = vec![store.clock.pinned().into_bytes(), arg(server.id), body];
    let now = number(&store.on_store(&scripts::BEAT, args).await?)?;
    if let Err(error) = show_to_go(store, server, record(server).encode_to_vec(), now).await {
        // Its tools then do not list this server; they need memory for that, and there may be none.
        debug!(%error, "no sign of life for Asynq's tools");
    }
    Ok(())
}

/// Asynq's own record of a server.
async fn show_to_go(store: &Shared, server: &ServerInfo, record: Vec<u8>, now: i64) -> Result<()> {
    let at = store.env.monotonic();
    let fresh = |(shown, old): &(Monotonic, Vec<u8>)| *old == record && at.since(*shown) < SHOW_AGAIN_AFTER;
    if store.shown.lock().get(&server.id).is_some_and(fresh) {
        return Ok(());
    }
    let (key, index) = (record_key(store, server), store.plain_key("servers"));
    let mut put = redis::cmd("SET");
    put.arg(&key).arg(&record).arg("EX").arg(RECORD_SECONDS);
    store.link.run(&put).await?;
    let mut add = redis::cmd("ZADD");
    add.arg(index).arg(now / 1_000_000 + RECORD_SECONDS).arg(&key);
    store.link.run(&add).await?;
    store.shown.lock().insert(server.id, (at, record));
    Ok(())
}

/// As Asynq names it.
fn record_key(store: &Shared, server: &ServerInfo) -> String {
    store.plain_key(&format!("servers:{{{}:{}:{}}}", server.host, server.pid, server.id))
}

fn record(server: &ServerInfo) -> ServerRecord {
    let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let started = server.started_at.as_micros();
    ServerRecord {
        host: server.host.clone(),
        pid: small(server.pid),
        server_id: server.id.to_string(),
        concurrency: small(server.slots),
        queues: server.queues.iter().map(|(queue, weight)| (queue.to_string(), small(*weight))).collect(),
        strict_priority: false,
        status: if server.quiet { "stopped" } else { "active" }.into(),
        start_time: Some(Moment {
            seconds: started.div_euclid(1_000_000),
            nanos: i32::try_from(started.rem_euclid(1_000_000) * 1000).unwrap_or(0),
        }),
        active_worker_count: small(server.busy),
    }
}

pub(in super::super) async fn leave(store: &Shared, server: ServerId) -> Result<()> {
    store.shown.lock().remove(&server);
    let known = servers(store, false).await?.live.into_iter().find(|known| known.id == server);
    let mut forget = redis::cmd("HDEL");
    forget.arg(format!("{}servers", store.store_key())).arg(server.to_string());
    store.link.run(&forget).await?;
    if let Some(known) = known {
        let key = record_key(store, &known);
        let mut index = redis::cmd("ZREM");
        index.arg(store.plain_key("servers")).arg(&key);
        store.link.run(&index).await?;
        store.link.run(redis::cmd("DEL").arg(&key)).await?;
    }
    // A claim that was delayed on its way has been passed by.
    store.left.lock().insert(server, store.env.monotonic());
    for queue in store.all_queues().await? {
        store.on(&queue, &scripts::LEAVE, [arg(server)]).await?;
    }
    Ok(())
}

pub(in super::super) async fn servers(store: &Shared, sweeping: bool) -> Result<Seen> {
    let span = arg(micros(SERVER_SILENT_AFTER));
    let args = vec![store.clock.pinned().into_bytes(), span, arg(u8::from(sweeping))];
    let mut answer = list(store.on_store(&scripts::SERVERS, args).await?)?.into_iter();
    let mut next = || answer.next().ok_or_else(|| odd("servers"));
    let (now, elapsed) = (number(&next()?)?, number(&next()?)?);
    let mut live = Vec::new();
    while let (Some(seen), Some(body)) = (answer.next(), answer.next()) {
        let server: ServerInfo = serde_json::from_str(&text(body)?).map_err(|_| odd("a server"))?;
        live.push(ServerInfo { seen_at: Timestamp::from_micros(number(&seen)?), ..server });
    }
    live.sort_by_key(|server| server.id);
    Ok(Seen { now, elapsed: Duration::from_micros(u64::try_from(elapsed).unwrap_or(0)), live })
}
