//! What runs say while they go on: one script for each stretch of reports on the same queue's jobs.

use super::{
    Shared, arg,
    lease::locate,
    reply::{list, number},
    scripts,
};
use crate::{
    job::{News, QueueName},
    store::{Report, Reported, Result},
};

const MOST: usize = 500;

pub(in super::super) async fn report(store: &Shared, reports: &[Report]) -> Result<Vec<Reported>> {
    let queues = locate(store, reports.iter().map(|report| &report.lease.id)).await?;
    let mut answers = Vec::with_capacity(reports.len());
    let mut at = 0;
    while at < reports.len() {
        let same = |other: &&Option<QueueName>| **other == queues[at];
        let end = at + queues[at..].iter().take(MOST).take_while(same).count();
        match &queues[at] {
            Some(queue) => answers.extend(report_chunk(store, queue, &reports[at..end]).await?),
            None => answers.extend(std::iter::repeat_n(Reported::Stale, end - at)),
        }
        at = end;
    }
    store.waker.wake();
    Ok(answers)
}

async fn report_chunk(store: &Shared, queue: &QueueName, reports: &[Report]) -> Result<Vec<Reported>> {
    let mut args = vec![arg(reports.len())];
    for report in reports {
        args.extend([arg(&report.lease.id), arg(report.lease.fence)]);
        args.extend(news(&report.news));
    }
    let answers = list(store.on(queue, &scripts::REPORT, args).await?)?;
    let read = |answer| Ok(if number(answer)? == 1 { Reported::Applied } else { Reported::Stale });
    answers.iter().map(read).collect()
}

/// What a run says, as scripts take it: see `take_news` in `lua/lib/news.lua`.
pub(super) fn news(said: &News) -> Vec<Vec<u8>> {
    let (fraction, message) = match &said.progress {
        Some(progress) => (progress.fraction.to_string(), progress.message.to_string()),
        None => Default::default(),
    };
    let mut args = vec![arg(said.number), arg(u8::from(said.progress.is_some()))];
    args.extend([fraction.into_bytes(), message.into_bytes()]);
    args.extend([arg(u8::from(said.checkpoint.is_some())), said.checkpoint.as_deref().unwrap_or_default().to_vec()]);
    args.push(arg(said.lines.len()));
    args.extend(said.lines.iter().flat_map(|line| [arg(line.at.as_micros()), line.text.as_bytes().to_vec()]));
    args
}
