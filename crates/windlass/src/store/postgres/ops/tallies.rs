//! Statistics: what ended since a minute.

use tokio_postgres::{Row, types::Type};

use super::{Shared, read::count, rows};
use crate::{
    job::Timestamp,
    store::{Bucket, Histogram, Result, Tallies, TallyLine},
};

pub(in super::super) async fn tallies(store: &Shared, since: Timestamp) -> Result<Tallies> {
    let minute = since.minute();
    let mut tallies = Tallies::default();
    for row in store.link.rows("SELECT * FROM windlass.tallies($1)", &[(&minute, Type::INT8)]).await? {
        let (queue, kind) = (rows::get(&row, "queue")?, rows::get(&row, "kind")?);
        tallies.lines.push(TallyLine { queue, kind, bucket: bucket(&row)? });
    }
    tallies.lines.sort_by(|a, b| (&a.queue, &a.kind).cmp(&(&b.queue, &b.kind)));
    for row in store.link.rows("SELECT * FROM windlass.tenant_tallies($1)", &[(&minute, Type::INT8)]).await? {
        tallies.tenants.insert(rows::get(&row, "tenant")?, bucket(&row)?);
    }
    Ok(tallies)
}

fn bucket(row: &Row) -> Result<Bucket> {
    let sum = |column| rows::get(row, column).map(count);
    Ok(Bucket {
        completed: sum("completed")?,
        retried: sum("retried")?,
        dead: sum("dead")?,
        cancelled: sum("cancelled")?,
        duration_us: sum("duration_us")?,
        wait: histogram(row, "wait_slots", "wait_counts")?,
        run: histogram(row, "run_slots", "run_counts")?,
    })
}

fn histogram(row: &Row, slots: &str, counts: &str) -> Result<Histogram> {
    let slots = rows::get::<Option<Vec<i16>>>(row, slots)?.unwrap_or_default();
    let counts = rows::get::<Option<Vec<i64>>>(row, counts)?.unwrap_or_default();
    let mut histogram = Histogram::default();
    for (slot, many) in std::iter::zip(slots, counts) {
        histogram.add_to(usize::try_from(slot).unwrap_or(usize::MAX), count(many));
    }
    Ok(histogram)
}
