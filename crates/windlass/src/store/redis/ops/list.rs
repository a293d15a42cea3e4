//! Pages of jobs in order of enqueueing, merged over the queues.

use std::collections::VecDeque;

use super::{
    Shared, arg, lease,
    read::{FETCHED, fetch},
    reply::{list as values, number, odd, text},
    scripts,
};
use crate::{
    job::{Cursor, JobFilter, JobPage, JobRecord, QueueName},
    store::Result,
};

/// The most jobs that one page looks at.
const LOOKS_AT: usize = 10_000;
const MOST: usize = 500;

pub(in super::super) async fn list(
    store: &Shared,
    filter: &JobFilter,
    after: Option<Cursor>,
    limit: u32,
) -> Result<JobPage> {
    lease::know_the_clock(store).await?;
    let limit = limit.min(1000) as usize;
    let queues =
        store.all_queues().await?.into_iter().filter(|queue| filter.queue.as_ref().is_none_or(|of| of == queue));
    let mut walk = Walk { store, lanes: Vec::new(), at: after.map_or(-1, |cursor| cursor.0) };
    for queue in queues {
        walk.lanes.push(Lane { queue, ids: VecDeque::new(), at: walk.at, ended: false });
    }
    let mut page = JobPage::default();
    let mut looked = 0;
    loop {
        let wanted = FETCHED.min((limit - page.items.len()).max(1));
        let chunk = walk.next(wanted).await?;
        if chunk.is_empty() {
            return Ok(page);
        }
        if page.items.len() >= limit || looked >= LOOKS_AT {
            page.next = Some(Cursor(chunk[0].0 - 1));
            return Ok(page);
        }
        looked += chunk.len();
        page.items.extend(walk.fetch(&chunk).await?.into_iter().filter(|job| filter.matches(job)));
    }
}

/// The jobs of several queues in one order.
struct Walk<'w> {
    store: &'w Shared,
    lanes: Vec<Lane>,
    at: i64,
}

struct Lane {
    queue: QueueName,
    /// Places and ids that have been read ahead.
    ids: VecDeque<(i64, String)>,
    at: i64,
    ended: bool,
}

impl Walk<'_> {
    /// The next jobs: place, lane and id.
    async fn next(&mut self, many: usize) -> Result<Vec<(i64, usize, String)>> {
        let mut found = Vec::new();
        while found.len() < many {
            for lane in &mut self.lanes {
                if lane.ids.is_empty() && !lane.ended {
                    lane.read(self.store).await?;
                }
            }
            let heads = self.lanes.iter().enumerate();
            let first = heads.filter_map(|(at, lane)| Some((lane.ids.front()?.0, at))).min();
            let Some((_, lane)) = first else { break };
            if let Some((place, id)) = self.lanes[lane].ids.pop_front() {
                found.push((place, lane, id));
            }
        }
        Ok(found)
    }

    /// Their records, in their order.
    async fn fetch(&self, chunk: &[(i64, usize, String)]) -> Result<Vec<JobRecord>> {
        let mut records = Vec::with_capacity(chunk.len());
        for (number, lane) in self.lanes.iter().enumerate() {
            let ids: Vec<_> = chunk.iter().filter(|(_, of, _)| *of == number).map(|(.., id)| id.clone()).collect();
            if !ids.is_empty() {
                records.extend(fetch(self.store, &lane.queue, &ids).await?.into_iter().flatten());
            }
        }
        records.sort_by_key(|(_, place)| *place);
        let listed = |record| JobRecord { checkpoint: None, log: Vec::new(), ..record };
        Ok(records.into_iter().map(|(record, _)| listed(record)).collect())
    }
}

impl Lane {
    async fn read(&mut self, store: &Shared) -> Result<()> {
        let mut answer = values(store.on(&self.queue, &scripts::LIST, [arg(self.at), arg(MOST)]).await?)?.into_iter();
        while let Some(id) = answer.next() {
            let place = number(&answer.next().ok_or_else(|| odd("a listing"))?)?;
            self.ids.push_back((place, text(id)?));
            self.at = place;
        }
        self.ended = self.ids.len() < MOST;
        Ok(())
    }
}
