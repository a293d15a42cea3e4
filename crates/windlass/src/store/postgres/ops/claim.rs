//! Takes pending jobs.

use tokio_postgres::{Row, types::Type};

use super::{Shared, encode, rows};
use crate::{
    job::{Monotonic, micros},
    store::{
        Claim, ClaimRequest, Result,
        postgres::marks::{Marks, Seen},
    },
};

const CALL: &str = "SELECT * FROM windlass.claim_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
                    $16, $17, $18)";

pub(in super::super) async fn claim(store: &Shared, request: &ClaimRequest) -> Result<Claim> {
    let mut marks = store.claims.lock().await;
    let moment = store.clock.moment();
    let begin = marks.begin(moment.asked);
    let whole = begin.is_none();
    let (stretches, places): (Vec<i64>, Vec<i64>) = begin.into_iter().flatten().unzip();
    let number = |many: u32| i32::try_from(many).unwrap_or(i32::MAX);
    let sequence = i64::try_from(request.sequence).unwrap_or(i64::MAX);
    let queues: Vec<&str> = request.shares.iter().map(|share| share.queue.as_str()).collect();
    let quotas: Vec<i32> = request.shares.iter().map(|share| number(share.quota)).collect();
    let (patterns, exact, rooms) = encode::rules(&request.kinds);
    let quick: Vec<&str> = request.quick.iter().map(|kind| kind.as_str()).collect();
    let reply = store
        .link
        .rows(
            CALL,
            &[
                (&moment.wall, Type::INT8),
                (&moment.start, Type::TEXT),
                (&moment.told, Type::INT8),
                (&moment.elapsed, Type::INT8),
                (&request.server.0, Type::UUID),
                (&sequence, Type::INT8),
                (&number(request.limit), Type::INT4),
                (&number(request.slots), Type::INT4),
                (&micros(request.lease), Type::INT8),
                (&request.suspect, Type::BOOL),
                (&queues, Type::TEXT_ARRAY),
                (&quotas, Type::INT4_ARRAY),
                (&patterns, Type::TEXT_ARRAY),
                (&exact, Type::BOOL_ARRAY),
                (&rooms, Type::INT4_ARRAY),
                (&quick, Type::TEXT_ARRAY),
                (&stretches, Type::INT8_ARRAY),
                (&places, Type::INT8_ARRAY),
            ],
        )
        .await?;
    let (told, jobs) = reply.split_first().ok_or_else(|| rows::odd("a claim"))?;
    store.clock.learn(&moment, rows::get(told, "wall")?);
    learn(&mut marks, moment.asked, whole, told)?;
    let suspect_waiting = rows::get::<Option<i64>>(told, "suspect_us")?.map(rows::duration);
    // One that cannot be read costs the others nothing: nobody renews its lease, and after some crashes it is dead.
    let jobs = jobs.iter().filter_map(|row| rows::readable(row, rows::claimed(row))).collect();
    Ok(Claim { jobs, suspect_waiting })
}

/// Notes what the first row says of the lines: nothing, if the claim looked at none.
fn learn(marks: &mut Marks, asked: Monotonic, whole: bool, told: &Row) -> Result<()> {
    let Some(place) = rows::get::<Option<i64>>(told, "place")? else { return Ok(()) };
    let walked = rows::get::<i64>(told, "walked")?;
    let stretches = rows::get::<Option<Vec<i64>>>(told, "stretches")?.unwrap_or_default();
    let ords = rows::get::<Option<Vec<i64>>>(told, "ords")?.unwrap_or_default();
    let heads = stretches.into_iter().zip(ords).collect();
    marks.learn(asked, whole, &Seen { heads, walked: u64::try_from(walked).unwrap_or(0), place });
    Ok(())
}
