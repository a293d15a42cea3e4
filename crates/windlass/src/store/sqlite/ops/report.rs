//! Notes what runs say while they go on, each fenced; and reads it.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Done, Step,
    change::{Known, set_aside},
    sql,
};
use crate::{
    job::{DEFAULTS, JobRecord, Line, LogLine, News, Progress, Timestamp},
    store::{Report, Reported, sqlite::rows::IdColumn},
};

pub(in super::super) fn report(step: &mut Step<'_>, reports: &[Report]) -> Done<Vec<Reported>> {
    reports.iter().map(|report| report_one(step, report)).collect()
}

/// The run that speaks.
struct Speaker {
    seq: i64,
    fence: i64,
    attempt: u32,
    /// Whether its job's row says that there is more in other tables.
    aside: bool,
}

fn report_one(step: &mut Step<'_>, report: &Report) -> Done<Reported> {
    let fence = report.lease.fence.0 as i64;
    let mut statement = step.conn.prepare_cached(sql!("report_find"))?;
    let found = statement.query_row(params![IdColumn(&report.lease.id), fence], |row| {
        Ok(Speaker { seq: row.get(0)?, fence, attempt: row.get(1)?, aside: row.get(2)? })
    });
    let Some(speaker) = found.optional()? else { return Ok(Reported::Stale) };
    drop(statement);
    take(step, &speaker, &report.news)?;
    step.wake();
    Ok(Reported::Applied)
}

/// What comes with the finish of a job that stays.
pub(super) fn take_news(step: &Step<'_>, job: &mut Known, news: &News) -> Done<()> {
    let (fence, attempt) = (job.fence.unwrap_or(0), job.attempt);
    take(step, &Speaker { seq: job.seq, fence, attempt, aside: job.aside }, news)?;
    job.aside = true;
    Ok(())
}

/// Each number of a run once, and none that comes after a later one.
fn take(step: &Step<'_>, speaker: &Speaker, news: &News) -> Done<()> {
    let seq = speaker.seq;
    let said = (speaker.fence, i64::try_from(news.number).unwrap_or(i64::MAX));
    let mut statement = step.conn.prepare_cached(sql!("report_last"))?;
    let last: Option<(i64, i64)> = statement.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    if last.is_some_and(|last| last >= said) {
        return Ok(());
    }
    let (fraction, message) = news.progress.as_ref().map(|now| (now.fraction, &*now.message)).unzip();
    step.conn.prepare_cached(sql!("report_write"))?.execute(params![seq, said.0, said.1, fraction, message])?;
    if let Some(checkpoint) = &news.checkpoint {
        step.conn.prepare_cached(sql!("checkpoint_write"))?.execute(params![seq, &checkpoint[..]])?;
    }
    if !news.lines.is_empty() {
        log(step, speaker, &news.lines)?;
    }
    if speaker.aside { Ok(()) } else { set_aside(step, seq) }
}

fn log(step: &Step<'_>, speaker: &Speaker, lines: &[Line]) -> Done<()> {
    let mut number: i64 = step.conn.prepare_cached(sql!("log_last"))?.query_row([speaker.seq], |row| row.get(0))?;
    let mut add = step.conn.prepare_cached(sql!("log_add"))?;
    for line in lines {
        number += 1;
        add.execute(params![speaker.seq, number, line.at.as_micros(), speaker.attempt, &*line.text])?;
    }
    let gone = number - DEFAULTS.lines_kept as i64;
    step.conn.prepare_cached(sql!("log_trim"))?.execute([speaker.seq, gone])?;
    Ok(())
}

/// Puts what its runs have said into a record: all of it, or only the progress.
pub(super) fn read(conn: &Connection, seq: i64, record: &mut JobRecord, all: bool) -> Done<()> {
    let mut statement = conn.prepare_cached(sql!("report_read"))?;
    let said = statement.query_row(params![seq, all], |row| {
        let fraction: Option<f64> = row.get(0)?;
        let message: Option<String> = row.get(1)?;
        let progress = fraction.map(|fraction| Progress::new(fraction, message.unwrap_or_default()));
        Ok((progress, row.get::<_, Option<Vec<u8>>>(2)?))
    });
    let Some((progress, checkpoint)) = said.optional()? else { return Ok(()) };
    record.progress = progress;
    record.checkpoint = checkpoint.map(Into::into);
    if all {
        let mut statement = conn.prepare_cached(sql!("log_read"))?;
        let lines = statement.query_map([seq], |row| {
            let at = Timestamp::from_micros(row.get(1)?);
            Ok(LogLine { number: row.get(0)?, at, attempt: row.get(2)?, line: row.get::<_, String>(3)?.into() })
        })?;
        record.log = lines.collect::<Result<_, _>>()?;
    }
    Ok(())
}
