//! What runs say while they go on.

use super::*;
use crate::job::LogLine;

impl Inner {
    pub(super) fn report(&mut self, report: &Report) -> Reported {
        let Some(seq) = self.held(&report.lease) else { return Reported::Stale };
        self.take_news(seq, &report.news);
        Reported::Applied
    }

    /// Each number of a run once, and none that comes after a later one.
    pub(super) fn take_news(&mut self, seq: u64, news: &News) {
        let Some(job) = self.jobs.get_mut(seq) else { return };
        let record = &mut job.record;
        let said = (record.fence.unwrap_or(Fence(0)), news.number);
        if job.said.is_some_and(|last| last >= said) {
            return;
        }
        job.said = Some(said);
        record.progress = news.progress.clone().or(record.progress.take());
        record.checkpoint = news.checkpoint.clone().or(record.checkpoint.take());
        for line in &news.lines {
            LogLine::push(&mut record.log, record.attempt, line);
        }
    }
}
