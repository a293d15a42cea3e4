//! Keeps leases and takes those that lapsed.

use tokio_postgres::types::Type;

use super::{Shared, encode, rows};
use crate::{
    job::{Lease, QueueName, micros},
    store::{ExtendRequest, RescueRules, Rescued, RescuedJob, Result},
};

pub(in super::super) async fn extend(store: &Shared, request: &ExtendRequest) -> Result<Vec<Lease>> {
    let moment = store.clock.moment();
    let ids: Vec<String> = request.leases.iter().map(|lease| lease.id.to_string()).collect();
    let fences: Vec<i64> = request.leases.iter().map(|lease| encode::fence(lease.fence)).collect();
    let call = "SELECT wall, n FROM windlass.extend_leases($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let reply = store
        .link
        .rows(
            call,
            &[
                (&moment.wall, Type::INT8),
                (&moment.start, Type::TEXT),
                (&moment.told, Type::INT8),
                (&moment.elapsed, Type::INT8),
                (&request.server.0, Type::UUID),
                (&micros(request.lease), Type::INT8),
                (&request.ran_late, Type::BOOL),
                (&ids, Type::TEXT_ARRAY),
                (&fences, Type::INT8_ARRAY),
            ],
        )
        .await?;
    let (told, lost) = reply.split_first().ok_or_else(|| rows::odd("a renewal"))?;
    store.clock.learn(&moment, rows::get(told, "wall")?);
    let lost = lost.iter().map(|row| {
        let place = usize::try_from(rows::get::<i32>(row, "n")? - 1).unwrap_or(usize::MAX);
        request.leases.get(place).cloned().ok_or_else(|| rows::odd("a place"))
    });
    lost.collect()
}

pub(in super::super) async fn rescue(store: &Shared, rules: &RescueRules) -> Result<Rescued> {
    let moment = store.clock.moment();
    let number = |many: u32| i32::try_from(many).unwrap_or(i32::MAX);
    let call = "SELECT * FROM windlass.rescue_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let reply = store
        .link
        .rows(
            call,
            &[
                (&moment.wall, Type::INT8),
                (&moment.start, Type::TEXT),
                (&moment.told, Type::INT8),
                (&moment.elapsed, Type::INT8),
                (&micros(rules.lease), Type::INT8),
                (&rules.ran_late, Type::BOOL),
                (&number(rules.limit), Type::INT4),
                (&number(rules.poison_after), Type::INT4),
                (&micros(store.address.keep_failed), Type::INT8),
            ],
        )
        .await?;
    let (told, taken) = reply.split_first().ok_or_else(|| rows::odd("a rescue"))?;
    store.clock.learn(&moment, rows::get(told, "wall")?);
    let job = |row: &tokio_postgres::Row| {
        Ok(RescuedJob {
            id: rows::id(rows::get(row, "id")?)?,
            kind: rows::get::<&str>(row, "kind")?.into(),
            queue: QueueName::trusted(rows::get::<&str>(row, "queue")?),
            fence: rows::fence(rows::get(row, "fence")?),
            attempt: u32::try_from(rows::get::<i32>(row, "attempt")?).unwrap_or(0),
            state: rows::state(rows::get(row, "state")?)?,
        })
    };
    // The last that was claimed comes first.
    Ok(Rescued { jobs: taken.iter().rev().map(job).collect::<Result<_>>()?, more: rows::get(told, "more")? })
}
