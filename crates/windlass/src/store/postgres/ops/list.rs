//! Pages of jobs.

use tokio_postgres::types::Type;

use super::{Shared, read::clocks, rows};
use crate::{
    job::{Cursor, JobFilter, JobPage},
    store::{Result, postgres::link::sql},
};

/// The most jobs that one page looks at.
const PAGE_LOOKS_AT: i32 = 10_000;

pub(in super::super) async fn list(
    store: &Shared,
    filter: &JobFilter,
    after: Option<Cursor>,
    limit: u32,
) -> Result<JobPage> {
    let states: Vec<i16> = filter.states.iter().map(|state| state.code().into()).collect();
    let (from, limit) = (after.map_or(0, |cursor| cursor.0), limit.min(1000) as i32);
    let row = store
        .link
        .row(
            "SELECT seqs, next FROM windlass.list_jobs($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                (&states, Type::INT2_ARRAY),
                (&from, Type::INT8),
                (&limit, Type::INT4),
                (&PAGE_LOOKS_AT, Type::INT4),
                (&filter.kind.as_ref().map(|kind| kind.as_str()), Type::TEXT),
                (&filter.queue.as_ref().map(|queue| queue.as_str()), Type::TEXT),
                (&filter.tenant, Type::TEXT),
                (&filter.tag, Type::TEXT),
            ],
        )
        .await?;
    let seqs: Vec<i64> = rows::get(&row, "seqs")?;
    let mut page = JobPage { items: Vec::new(), next: rows::get::<Option<i64>>(&row, "next")?.map(Cursor) };
    if !seqs.is_empty() {
        let read = clocks(store).await?;
        for row in store.link.rows(sql!("record_list"), &[(&seqs, Type::INT8_ARRAY)]).await? {
            let job = rows::record(&row, read)?;
            // It may have changed between the two looks.
            if filter.matches(&job) {
                page.items.push(job);
            }
        }
    }
    Ok(page)
}
