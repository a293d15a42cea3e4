//! Makes jobs durable.

use std::borrow::Cow;

use tokio_postgres::types::Type;

use super::{Shared, copy, encode::Columns, rows};
use crate::{
    job::NewJob,
    store::{
        Enqueued, Result,
        postgres::{link::Param, tx::Reply},
    },
};

/// The call, whose parameters [`params`] gives.
const CALL: &str = "SELECT n, id, state FROM windlass.enqueue_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                    $14, $15, $16, $17, $18, $19)";

/// The call for jobs among which some have an exclusive key; two parameters more: the keys, and whether the transaction is
/// the caller's.
const EXCLUSIVE_CALL: &str = "SELECT n, id, state FROM windlass.enqueue_exclusive($1, $2, $3, $4, $5, $6, $7, $8, $9, \
                              $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";

pub(in super::super) fn params<'c>(wall: &'c Option<i64>, columns: &'c Columns) -> [Param<'c>; 19] {
    [
        (wall, Type::INT8),
        (&columns.ids, Type::TEXT_ARRAY),
        (&columns.queues, Type::TEXT_ARRAY),
        (&columns.kinds, Type::TEXT_ARRAY),
        (&columns.payloads, Type::BYTEA_ARRAY),
        (&columns.tags, Type::TEXT_ARRAY),
        (&columns.headers, Type::TEXT_ARRAY),
        (&columns.tenants, Type::TEXT_ARRAY),
        (&columns.priorities, Type::INT2_ARRAY),
        (&columns.retries, Type::INT8_ARRAY),
        (&columns.timeouts, Type::INT8_ARRAY),
        (&columns.retentions, Type::INT8_ARRAY),
        (&columns.starts, Type::INT2_ARRAY),
        (&columns.start_us, Type::INT8_ARRAY),
        (&columns.deadlines, Type::INT8_ARRAY),
        (&columns.keys, Type::BYTEA_ARRAY),
        (&columns.ttls, Type::INT8_ARRAY),
        (&columns.groups, Type::TEXT_ARRAY),
        (&columns.fresh, Type::BOOL_ARRAY),
    ]
}

/// The call that these jobs need in a transaction of the caller's, and its parameters.
pub(in super::super) fn call_in<'c>(wall: &'c Option<i64>, columns: &'c Columns) -> (&'static str, Vec<Param<'c>>) {
    call(wall, columns, &true)
}

fn call<'c>(wall: &'c Option<i64>, columns: &'c Columns, theirs: &'c bool) -> (&'static str, Vec<Param<'c>>) {
    let mut params = params(wall, columns).to_vec();
    if columns.exclusives.is_none() {
        return (CALL, params);
    }
    params.extend([(&columns.exclusives as _, Type::TEXT_ARRAY), (theirs as _, Type::BOOL)]);
    (EXCLUSIVE_CALL, params)
}

/// The answers: what is not in the reply is new.
pub(in super::super) fn answers(jobs: &[NewJob], reply: &[impl Reply]) -> Result<Vec<Enqueued>> {
    let mut answers: Vec<_> = jobs.iter().map(|job| Enqueued::New(job.spec.id.clone())).collect();
    for row in reply {
        let place = usize::try_from(rows::get::<i32>(row, "n")? - 1).unwrap_or(usize::MAX);
        let id = rows::id(rows::get(row, "id")?)?;
        let state = rows::get::<Option<i16>>(row, "state")?.map(rows::state).transpose()?;
        *answers.get_mut(place).ok_or_else(|| rows::odd("a place"))? = Enqueued::Duplicate(id, state);
    }
    Ok(answers)
}

/// The same call, committed without waiting for the disk.
// why: one statement, as all calls are; the setting is made first, since the function's argument depends on it
fn relaxed(call: &str) -> String {
    let call =
        call.replace("SELECT n, id, state FROM ", "").replace("($1,", "(CASE WHEN s.relaxed IS NOT NULL THEN $1 END,");
    format!(
        "SELECT e.n, e.id, e.state FROM (SELECT set_config('synchronous_commit', 'off', true)) AS s (relaxed), LATERAL {call} \
         AS e"
    )
}

pub(super) async fn enqueue_at_once(store: &Shared, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let (wall, columns) = (store.clock.wall(), Columns::new(jobs));
    let is_relaxed = jobs.iter().all(|job| store.address.is_relaxed(&job.spec.queue));
    if copy::fits(jobs) && copy::copy(store, jobs, &columns, is_relaxed).await? {
        return Ok(jobs.iter().map(|job| Enqueued::New(job.spec.id.clone())).collect());
    }
    let (call, params) = call(&wall, &columns, &false);
    let call = if is_relaxed { relaxed(call).into() } else { Cow::Borrowed(call) };
    answers(jobs, &store.link.rows(&call, &params).await?)
}
