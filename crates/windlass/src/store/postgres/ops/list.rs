//! Pages of jobs.

use tokio_postgres::types::Type;

use super::{Shared, read::clocks, rows};
use crate::{
    job::{Cursor, JobFilter, JobPage},
    store::{
        Result,
        postgres::link::{Param, sql},
    },
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
    let params: [Param<'_>; 8] = [
        (&states, Type::INT2_ARRAY),
        (&from, Type::INT8),
        (&limit, Type::INT4),
        (&PAGE_LOOKS_AT, Type::INT4),
        (&filter.kind.as_ref().map(|kind| kind.as_str()), Type::TEXT),
        (&filter.queue.as_ref().map(|queue| queue.as_str()), Type::TEXT),
        (&filter.tenant, Type::TEXT),
        (&filter.tag, Type::TEXT),
    ];
    let read = clocks(store).await?;
    let mut page = JobPage { items: Vec::new(), next: None };
    for row in store.link.rows(sql!("record_list"), &params).await? {
        page.next = rows::get::<Option<i64>>(&row, "next")?.map(Cursor);
        if rows::get::<Option<i64>>(&row, "seq")?.is_some() {
            page.items.extend(rows::readable(&row, rows::record(&row, read)));
        }
    }
    Ok(page)
}
