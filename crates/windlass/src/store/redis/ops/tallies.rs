//! Adds up the minute buckets of all queues.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    Shared, arg,
    reply::{bytes, list, number, odd, text},
    scripts,
};
use crate::{
    job::Timestamp,
    store::{Bucket, Result, Tallies, TallyLine},
};

/// The most buckets of one script.
const MOST: i64 = 30;

pub(in super::super) async fn tallies(store: &Shared, since: Timestamp) -> Result<Tallies> {
    let mut tallies = Tallies::default();
    for queue in store.all_queues().await? {
        let mut kinds: BTreeMap<String, Bucket> = BTreeMap::new();
        let mut from = since.minute().to_string();
        loop {
            let mut answer =
                list(store.on(&queue, &scripts::TALLIES, [from.into_bytes(), arg(MOST)]).await?)?.into_iter();
            let last = text(answer.next().ok_or_else(|| odd("buckets"))?)?;
            while let (Some(of_kinds), Some(of_tenants)) = (answer.next(), answer.next()) {
                read(of_kinds, &mut kinds)?;
                read(of_tenants, &mut tallies.tenants)?;
            }
            if last.is_empty() {
                break;
            }
            from = format!("({last}");
        }
        tallies.lines.extend(kinds.into_iter().map(|(kind, bucket)| TallyLine {
            queue: queue.to_string(),
            kind,
            bucket,
        }));
    }
    Ok(tallies)
}

/// Reads one bucket's fields: a name, a line feed, what is counted.
fn read(fields: Value, into: &mut BTreeMap<String, Bucket>) -> Result<()> {
    let mut fields = list(fields)?.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        let field = String::from_utf8(bytes(field)?).map_err(|_| odd("a bucket"))?;
        let (name, what) = field.rsplit_once('\n').ok_or_else(|| odd("a bucket"))?;
        let count = u64::try_from(number(&value)?).unwrap_or(0);
        add(into.entry(name.to_owned()).or_default(), what, count)?;
    }
    Ok(())
}

fn add(bucket: &mut Bucket, what: &str, count: u64) -> Result<()> {
    let slot = |text: &str| text.parse::<usize>().map_err(|_| odd("a histogram"));
    match (what, what.split_at_checked(1)) {
        ("c", _) => bucket.completed += count,
        ("r", _) => bucket.retried += count,
        ("d", _) => bucket.dead += count,
        ("x", _) => bucket.cancelled += count,
        ("t", _) => bucket.duration_us = bucket.duration_us.saturating_add(count),
        (_, Some(("w", rest))) => bucket.wait.add_to(slot(rest)?, count),
        (_, Some(("n", rest))) => bucket.run.add_to(slot(rest)?, count),
        _ => return Err(odd("a bucket")),
    }
    Ok(())
}
