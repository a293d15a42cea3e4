//! Applies reports of runs, and notes what runs say while they go on.

use tokio_postgres::types::Type;

use super::{Shared, encode, encode::Reports, rows};
use crate::{
    job::micros,
    store::{
        Finish, Finished, Report, Reported, Result,
        postgres::{link::Param, tx::Reply},
    },
};

/// The call, whose parameters [`params`] gives.
pub(in super::super) const CALL: &str =
    "SELECT n, state FROM windlass.finish_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// The clock, how long failed jobs are kept, and the two documents.
pub(in super::super) struct Beside {
    wall: Option<i64>,
    keep: i64,
    news: String,
    then: Option<String>,
    relaxed: Vec<String>,
    theirs: bool,
}

impl Beside {
    pub(in super::super) fn new(store: &Shared, reports: &Reports) -> Self {
        let keep = micros(store.address.keep_failed);
        Self {
            wall: store.clock.wall(),
            keep,
            news: reports.news(),
            then: reports.then(),
            relaxed: vec![],
            theirs: false,
        }
    }

    /// What ends in these queues alone need not wait for the disk: in a transaction of ours, that is.
    fn relaxed(self, queues: &[String]) -> Self {
        Self { relaxed: queues.to_vec(), ..self }
    }

    /// In a transaction of the caller's, which may be open for long.
    pub(in super::super) fn theirs(self) -> Self {
        Self { theirs: true, ..self }
    }
}

pub(in super::super) fn params<'c>(beside: &'c Beside, reports: &'c Reports) -> [Param<'c>; 16] {
    [
        (&beside.wall, Type::INT8),
        (&beside.keep, Type::INT8),
        (&reports.ids, Type::TEXT_ARRAY),
        (&reports.fences, Type::INT8_ARRAY),
        (&reports.verdicts, Type::INT2_ARRAY),
        (&reports.waits, Type::INT8_ARRAY),
        (&reports.reasons, Type::TEXT_ARRAY),
        (&reports.classes, Type::TEXT_ARRAY),
        (&reports.messages, Type::TEXT_ARRAY),
        (&reports.results, Type::BYTEA_ARRAY),
        (&reports.rans, Type::INT8_ARRAY),
        (&reports.alone, Type::BOOL_ARRAY),
        (&beside.news, Type::TEXT),
        (&beside.then, Type::TEXT),
        (&beside.relaxed, Type::TEXT_ARRAY),
        (&beside.theirs, Type::BOOL),
    ]
}

/// The answers: what is not in the reply is stale.
pub(in super::super) fn answers(many: usize, reply: &[impl Reply]) -> Result<Vec<Finished>> {
    let mut answers = vec![Finished::Stale; many];
    for row in reply {
        let place = usize::try_from(rows::get::<i32>(row, "n")? - 1).unwrap_or(usize::MAX);
        let state = rows::state(rows::get(row, "state")?)?;
        *answers.get_mut(place).ok_or_else(|| rows::odd("a place"))? = Finished::Applied(state);
    }
    Ok(answers)
}

pub(in super::super) async fn finish(store: &Shared, batch: &[Finish]) -> Result<Vec<Finished>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let reports = Reports::new(batch);
    let beside = Beside::new(store, &reports).relaxed(&store.address.relaxed);
    let reply = store.link.rows(CALL, &params(&beside, &reports)).await?;
    answers(batch.len(), &reply)
}

pub(in super::super) async fn report(store: &Shared, reports: &[Report]) -> Result<Vec<Reported>> {
    if reports.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = reports.iter().map(|report| report.lease.id.to_string()).collect();
    let fences: Vec<i64> = reports.iter().map(|report| encode::fence(report.lease.fence)).collect();
    let news = reports.iter().enumerate().map(|(at, report)| encode::news_json(at + 1, &report.news));
    let news = serde_json::Value::Array(news.collect()).to_string();
    let durable = reports.iter().any(|report| report.news.checkpoint.is_some());
    let params: [Param<'_>; 4] =
        [(&ids, Type::TEXT_ARRAY), (&fences, Type::INT8_ARRAY), (&news, Type::TEXT), (&durable, Type::BOOL)];
    let mut answers = vec![Reported::Stale; reports.len()];
    for row in store.link.rows("SELECT n FROM windlass.report_jobs($1, $2, $3, $4)", &params).await? {
        let place = usize::try_from(rows::get::<i32>(&row, "n")? - 1).unwrap_or(usize::MAX);
        *answers.get_mut(place).ok_or_else(|| rows::odd("a place"))? = Reported::Applied;
    }
    Ok(answers)
}
