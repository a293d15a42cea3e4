//! Locks: one function each, which is a step alone under the lock's name (`sql/locks.sql`).

use std::time::Duration;

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{Shared, encode, rows};
use crate::{
    job::{Fence, LockName, Timestamp, micros},
    store::{
        Hold, LockHolder, LockInfo, LockPage, LockReply, LockRequest, MAX_HOLDERS_SHOWN, Result,
        postgres::{clock::Moment, link::Param},
    },
};

/// How long what has lapsed is kept for its holder to come back to.
const KEEP_LAPSED: Duration = Duration::from_secs(24 * 3600);

/// The first arguments of what looks at leases.
fn clocks(moment: &Moment) -> [Param<'_>; 4] {
    [(&moment.wall, Type::INT8), (&moment.start, Type::TEXT), (&moment.told, Type::INT8), (&moment.elapsed, Type::INT8)]
}

pub(in super::super) async fn acquire(store: &Shared, request: &LockRequest) -> Result<LockReply> {
    let moment = store.clock.moment();
    let call = "SELECT wall, fence, others, retry_in, ahead FROM windlass.acquire_lock($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let (slots, place) = (number(request.slots), request.place.map(micros));
    let (name, holder) = (request.name.as_str(), &*request.holder);
    let mut params = clocks(&moment).to_vec();
    let ttl = micros(request.ttl);
    params.extend([(&name as _, Type::TEXT), (&request.token as _, Type::UUID), (&slots as _, Type::INT4)]);
    params.extend([(&ttl as _, Type::INT8), (&place as _, Type::INT8), (&holder as _, Type::TEXT)]);
    let row = store.link.row(call, &params).await?;
    store.clock.learn(&moment, rows::get(&row, "wall")?);
    if let Some(fence) = rows::get::<Option<i64>>(&row, "fence")? {
        return Ok(LockReply::Held(rows::fence(fence)));
    }
    if let Some(slots) = rows::get::<Option<i32>>(&row, "others")? {
        return Ok(LockReply::OtherSlots(slots.unsigned_abs()));
    }
    let retry_in = duration(rows::get(&row, "retry_in")?);
    Ok(LockReply::Busy { retry_in, ahead: rows::get::<i32>(&row, "ahead")?.unsigned_abs() })
}

pub(in super::super) async fn extend(store: &Shared, hold: &Hold, ttl: Duration) -> Result<bool> {
    let moment = store.clock.moment();
    let call = "SELECT wall, held FROM windlass.extend_lock($1, $2, $3, $4, $5, $6, $7, $8)";
    let (name, fence, ttl) = (hold.name.as_str(), encode::fence(hold.fence), micros(ttl));
    let mut params = clocks(&moment).to_vec();
    params.extend([(&name as _, Type::TEXT), (&hold.token as _, Type::UUID)]);
    params.extend([(&fence as _, Type::INT8), (&ttl as _, Type::INT8)]);
    let row = store.link.row(call, &params).await?;
    store.clock.learn(&moment, rows::get(&row, "wall")?);
    rows::get(&row, "held")
}

pub(in super::super) async fn release(
    store: &Shared,
    name: &LockName,
    token: Uuid,
    fence: Option<Fence>,
) -> Result<bool> {
    let (name, fence) = (name.as_str(), fence.map(encode::fence));
    let params: [Param<'_>; 3] = [(&name, Type::TEXT), (&token, Type::UUID), (&fence, Type::INT8)];
    let row = store.link.row("SELECT windlass.release_lock($1, $2, $3) AS held", &params).await?;
    store.tell();
    rows::get(&row, "held")
}

pub(in super::super) async fn break_lock(store: &Shared, name: &LockName) -> Result<u32> {
    let moment = store.clock.moment();
    let name = name.as_str();
    let mut params = clocks(&moment).to_vec();
    params.push((&name, Type::TEXT));
    let row = store.link.row("SELECT windlass.break_lock($1, $2, $3, $4, $5) AS held", &params).await?;
    store.tell();
    Ok(rows::get::<i32>(&row, "held")?.unsigned_abs())
}

pub(in super::super) async fn page(store: &Shared, after: Option<&LockName>, limit: u32) -> Result<LockPage> {
    let moment = store.clock.moment();
    let limit = limit.min(1000) as usize;
    let (past, most, shown) = (after.map_or("", LockName::as_str), limit as i32 + 1, MAX_HOLDERS_SHOWN as i32);
    let call = "SELECT * FROM windlass.list_locks($1, $2, $3, $4, $5, $6, $7)";
    let mut params = clocks(&moment).to_vec();
    params.extend([(&past as _, Type::TEXT), (&most as _, Type::INT4), (&shown as _, Type::INT4)]);
    let mut found = store.link.rows(call, &params).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let items = found.iter().map(info).collect::<Result<Vec<_>>>()?;
    Ok(LockPage { next: items.last().filter(|_| more).map(|last| last.name.clone()), items })
}

fn info(row: &Row) -> Result<LockInfo> {
    let holders: Vec<(i64, String, i64, i64)> =
        serde_json::from_str(rows::get(row, "holders")?).map_err(|_| rows::odd("the holders of a lock"))?;
    let holders = holders.into_iter().map(|(fence, holder, since, left)| {
        LockHolder::new(rows::fence(fence), holder, Timestamp::from_micros(since), duration(left))
    });
    let many = |name: &str| -> Result<u32> { Ok(rows::get::<i32>(row, name)?.unsigned_abs()) };
    let name = LockName::trusted(rows::get::<&str>(row, "name")?);
    Ok(LockInfo::new(name, many("slots")?, many("held")?, holders.collect(), many("waiting")?))
}

/// Forgets what lapsed long ago. Says whether there may be more of it.
pub(super) async fn prune(store: &Shared, limit: u32) -> Result<bool> {
    let moment = store.clock.moment();
    let (keep, limit) = (micros(KEEP_LAPSED), number(limit));
    let mut params = clocks(&moment).to_vec();
    params.extend([(&keep as _, Type::INT8), (&limit as _, Type::INT4)]);
    let row = store.link.row("SELECT windlass.prune_locks($1, $2, $3, $4, $5, $6) AS more", &params).await?;
    rows::get(&row, "more")
}

fn number(many: u32) -> i32 {
    i32::try_from(many).unwrap_or(i32::MAX)
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
