//! Makes many jobs durable by COPY, in a transaction of its own. For fresh ids and no keys of any sort, since a COPY cannot
//! answer that a job is there: should an id be taken all the same, nothing has happened and [`enqueue`](super::enqueue)
//! asks one by one.

use std::collections::BTreeMap;

use tokio_postgres::{
    Transaction,
    binary_copy::BinaryCopyInWriter,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{
    Shared,
    encode::{self, Columns},
};
use crate::{
    job::{NewJob, Start},
    store::{Result, postgres::link::begin},
};

/// From so many jobs on its four round trips are worth it.
const MANY: usize = 100;

const INTO: &str = "COPY windlass.job (seq, ord, created_at, updated_at, pending_at, run_at, deadline, timeout_us, \
                    retention_us, unique_ttl_us, max_retry, line, state, priority, id, tenant, member_of, tags, headers, \
                    payload) FROM STDIN (FORMAT binary)";
const TYPES: [Type; 20] = [
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT4,
    Type::INT2,
    Type::INT2,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT_ARRAY,
    Type::TEXT,
    Type::BYTEA,
];

/// When a job is due, as `enqueue_plain` reckons.
fn due(start: Start, now: i64) -> i64 {
    match encode::start(start) {
        (0, _) => now,
        (1, at) => at,
        (_, wait) => now.saturating_add(wait),
    }
}

pub(super) fn fits(jobs: &[NewJob]) -> bool {
    jobs.len() >= MANY && jobs.iter().all(|job| job.fresh && job.spec.unique.is_none() && job.spec.exclusive.is_none())
}

/// Whether they are there now; else an id was taken, and none is.
pub(super) async fn copy(store: &Shared, jobs: &[NewJob], columns: &Columns, relaxed: bool) -> Result<bool> {
    let mut connection = store.link.connection().await?;
    let copied = async {
        let step = begin(&mut connection).await?;
        if relaxed {
            step.batch_execute("SET LOCAL synchronous_commit = off").await?;
        }
        let room = Room::make(store, &step, jobs, columns).await?;
        room.fill(store, &step, jobs, columns).await?;
        room.note(store, &step, columns).await?;
        step.commit().await
    };
    match tokio::time::timeout(store.address.timeout, copied).await {
        Ok(Err(error)) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(false),
        answer => store.link.answered(connection, answer).map(|()| true),
    }
}

/// What the server gave to put the jobs into, an element for each.
struct Room {
    now: i64,
    lines: Vec<i32>,
    places: Vec<i64>,
    due: Vec<i64>,
    states: Vec<i16>,
}

impl Room {
    async fn make(
        store: &Shared,
        step: &Transaction<'_>,
        jobs: &[NewJob],
        columns: &Columns,
    ) -> Result<Self, tokio_postgres::Error> {
        let pairs = || std::iter::zip(&columns.queues, &columns.kinds);
        let mut known: BTreeMap<_, i32> = pairs().map(|pair| (pair, 0)).collect();
        let (queues, kinds): (Vec<_>, Vec<_>) = known.keys().copied().unzip();
        let many = i32::try_from(jobs.len()).unwrap_or(i32::MAX);
        let call = store.link.with_schema("SELECT now_us, lines, places FROM windlass.begin_copy($1, $2, $3, $4)");
        let row = step
            .query_typed_one(
                &call,
                &[
                    (&store.clock.wall(), Type::INT8),
                    (&queues, Type::TEXT_ARRAY),
                    (&kinds, Type::TEXT_ARRAY),
                    (&many, Type::INT4),
                ],
            )
            .await?;
        let now = row.try_get(0)?;
        known.values_mut().zip(row.try_get::<_, Vec<i32>>(1)?).for_each(|(line, id)| *line = id);
        let due: Vec<i64> = jobs.iter().map(|job| due(job.start, now)).collect();
        let states = std::iter::zip(&due, &columns.groups)
            .map(|(due, group)| {
                if *due > now {
                    1
                } else if group.is_some() {
                    3
                } else {
                    0
                }
            })
            .collect();
        Ok(Self { now, lines: pairs().map(|pair| known[&pair]).collect(), places: row.try_get(2)?, due, states })
    }

    async fn fill(
        &self,
        store: &Shared,
        step: &Transaction<'_>,
        jobs: &[NewJob],
        columns: &Columns,
    ) -> Result<(), tokio_postgres::Error> {
        let sink = step.copy_in(&*store.link.with_schema(INTO)).await?;
        let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, &TYPES));
        for (at, (job, place)) in std::iter::zip(jobs, &self.places).enumerate() {
            let waits = self.states[at] == 1;
            let (run_at, pending_at) = (waits.then_some(self.due[at]), (!waits).then_some(self.now));
            let tags = (!job.spec.tags.is_empty()).then_some(&job.spec.tags);
            let row: [&(dyn ToSql + Sync); 20] = [
                place,
                place,
                &self.now,
                &self.now,
                &pending_at,
                &run_at,
                &columns.deadlines[at],
                &columns.timeouts[at],
                &columns.retentions[at],
                &columns.ttls[at],
                &columns.retries[at],
                &self.lines[at],
                &self.states[at],
                &columns.priorities[at],
                &columns.ids[at],
                &columns.tenants[at],
                &columns.groups[at],
                &tags,
                &columns.headers[at],
                &columns.payloads[at],
            ];
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await.map(drop)
    }

    async fn note(
        &self,
        store: &Shared,
        step: &Transaction<'_>,
        columns: &Columns,
    ) -> Result<(), tokio_postgres::Error> {
        let call = store.link.with_schema("SELECT windlass.end_copy($1, $2, $3, $4)");
        let params: [(&(dyn ToSql + Sync), Type); 4] = [
            (&self.now, Type::INT8),
            (&self.lines, Type::INT4_ARRAY),
            (&columns.tenants, Type::TEXT_ARRAY),
            (&self.states, Type::INT2_ARRAY),
        ];
        step.query_typed(&call, &params).await.map(drop)
    }
}
