//! Groups: looking at them, and the step that makes one job of their members.

use tokio_postgres::types::Type;

use super::{Shared, encode, read::clocks, rows};
use crate::{
    job::{GroupInfo, GroupKey, GroupMember, MAX_MEMBERS, QueueName, Timestamp},
    store::{Flush, Flushed, GroupPage, MEMBERS_BYTES, Result, postgres::link::sql},
};

/// Past every name.
const END: &str = "\u{10ffff}";

pub(in super::super) async fn groups(
    store: &Shared,
    queue: Option<&QueueName>,
    after: Option<&GroupKey>,
    limit: u32,
) -> Result<GroupPage> {
    let limit = limit.min(1000) as i32;
    let (mut past, end) = match queue {
        Some(queue) => (format!("{queue}\u{1f}"), format!("{queue}\u{20}")),
        None => (String::new(), END.to_owned()),
    };
    if let Some(after) = after {
        past = past.max(encode::member_of(&after.queue, &after.name));
    }
    let most = i32::try_from(MAX_MEMBERS).unwrap_or(i32::MAX);
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(&past, Type::TEXT), (&end, Type::TEXT), (&(limit + 1), Type::INT4), (&most, Type::INT4)];
    let found = store.link.rows("SELECT * FROM windlass.list_groups($1, $2, $3, $4)", &params).await?;
    let mut page = GroupPage { now: clocks(store).await?.wall, ..GroupPage::default() };
    for row in &found {
        if page.items.len() >= limit as usize {
            page.next = page.items.last().map(|group: &GroupInfo| group.key.clone());
            break;
        }
        page.items.extend(info(row)?);
    }
    Ok(page)
}

fn info(row: &tokio_postgres::Row) -> Result<Option<GroupInfo>> {
    let key = rows::group_of(rows::get(row, "name")?).ok_or_else(|| rows::odd("a group"))?;
    let (oldest, newest): (Option<i64>, Option<i64>) = (rows::get(row, "oldest")?, rows::get(row, "newest")?);
    let (Some(oldest), Some(newest)) = (oldest, newest) else { return Ok(None) };
    let size = u32::try_from(rows::get::<i64>(row, "size")?).unwrap_or(u32::MAX);
    let mut info = GroupInfo::new(key, size, Timestamp::from_micros(oldest), Timestamp::from_micros(newest));
    info.flush_asked = rows::get::<Option<i64>>(row, "until")?.is_some_and(|until| oldest <= until);
    Ok(Some(info))
}

pub(in super::super) async fn members(store: &Shared, group: &GroupKey, limit: u32) -> Result<Vec<GroupMember>> {
    let name = encode::member_of(&group.queue, &group.name);
    let limit = limit.min(MAX_MEMBERS) as i32;
    let most = MEMBERS_BYTES as i64;
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&name, Type::TEXT), (&limit, Type::INT4), (&most, Type::INT8)];
    let found = store.link.rows(sql!("group_members"), &params).await?;
    found.iter().map(|row| Ok(GroupMember::new(rows::spec(row)?.into(), rows::get(row, "ord")?))).collect()
}

pub(in super::super) async fn flush(store: &Shared, flush: &Flush) -> Result<Flushed> {
    let name = encode::member_of(&flush.group.queue, &flush.group.name);
    let (ids, versions): (Vec<String>, Vec<i64>) =
        flush.members.iter().map(|(id, version)| (id.to_string(), *version)).unzip();
    let into = serde_json::Value::Array(vec![encode::job_json(&flush.into)]).to_string();
    let spec = &*flush.into.spec;
    let row = store
        .link
        .row(
            "SELECT answer, holder, state FROM windlass.flush_group($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                (&store.clock.wall(), Type::INT8),
                (&name, Type::TEXT),
                (&ids, Type::TEXT_ARRAY),
                (&versions, Type::INT8_ARRAY),
                (&into, Type::TEXT),
                (&spec.id.to_string(), Type::TEXT),
                (&flush.into.fresh, Type::BOOL),
                (&spec.unique.map(|unique| unique.key.0.to_vec()), Type::BYTEA),
                (&encode::ttl(spec), Type::INT8),
            ],
        )
        .await?;
    Ok(match rows::get::<i32>(&row, "answer")? {
        0 => Flushed::Changed,
        1 => Flushed::Into(spec.id.clone()),
        _ => {
            let state = rows::get::<Option<i16>>(&row, "state")?.map(rows::state).transpose()?;
            Flushed::Taken(rows::id(rows::get(&row, "holder")?)?, state)
        }
    })
}

pub(in super::super) async fn ask_flush(store: &Shared, group: &GroupKey) -> Result<bool> {
    let name = encode::member_of(&group.queue, &group.name);
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&store.clock.wall(), Type::INT8), (&name, Type::TEXT)];
    let row = store.link.row("SELECT windlass.ask_flush($1, $2) AS there", &params).await?;
    rows::get(&row, "there")
}

pub(in super::super) async fn delete_members(store: &Shared, group: &GroupKey, limit: u32) -> Result<u32> {
    let name = encode::member_of(&group.queue, &group.name);
    let limit = i32::try_from(limit).unwrap_or(i32::MAX);
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&store.clock.wall(), Type::INT8), (&name, Type::TEXT), (&limit, Type::INT4)];
    let row = store.link.row("SELECT windlass.delete_members($1, $2, $3) AS many", &params).await?;
    Ok(u32::try_from(rows::get::<i32>(&row, "many")?).unwrap_or(0))
}
