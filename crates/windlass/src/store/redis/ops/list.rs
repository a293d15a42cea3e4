//! Pages of jobs in order of enqueueing, merged over the queues.

use std::collections::VecDeque;

use super::{
    Shared, arg,
    groups::group_names,
    lease,
    read::{FETCHED, fetch},
    reply::{list as values, number, odd, text},
    scripts,
};
use crate::{
    job::{Cursor, JobFilter, JobPage, JobRecord, QueueName},
    store::Result,
};

/// The most jobs that one page looks at, and of those that Go brought in the most that get a place at once.
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
        if after.is_none() {
            adopt(store, &queue).await?;
        }
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

/// Gives places to the jobs of a queue that have none, since Go brought them in: they come after those that are known.
async fn adopt(store: &Shared, queue: &QueueName) -> Result<()> {
    let containers =
        ["pending", "active", "scheduled", "retry", "archived", "x:dead", "x:blocked", "completed"].map(str::to_owned);
    let groups = group_names(store, queue).await?.into_iter().map(|name| format!("g:{name}"));
    for container in containers.into_iter().chain(groups) {
        for from in (0..LOOKS_AT).step_by(MOST) {
            let args = [container.clone().into_bytes(), arg(from), arg(MOST)];
            let answer = values(store.on(queue, &scripts::ADOPT, args).await?)?;
            let [top, looked] = answer.as_slice() else { return Err(odd("an adoption")) };
            store.note_top(number(top)?);
            if number(looked)? < MOST as i64 {
                break;
            }
        }
    }
    Ok(())
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
        let listed = |record| JobRecord { checkpoint: None, log: Vec::new(), waits_for: None, ..record };
        Ok(records.into_iter().map(|(record, _)| listed(record)).collect())
    }
}

impl Lane {
    async fn read(&mut self, store: &Shared) -> Result<()> {
        // What is gone falls out of a stretch; one that has nothing left is not the end.
        while self.ids.is_empty() && !self.ended {
            self.read_stretch(store).await?;
        }
        Ok(())
    }

    async fn read_stretch(&mut self, store: &Shared) -> Result<()> {
        let mut answer = values(store.on(&self.queue, &scripts::LIST, [arg(self.at), arg(MOST)]).await?)?.into_iter();
        let mut next = || answer.next().ok_or_else(|| odd("a listing"));
        self.ended = number(&next()?)? == 1;
        self.at = number(&next()?)?;
        while let Some(id) = answer.next() {
            let place = number(&answer.next().ok_or_else(|| odd("a listing"))?)?;
            self.ids.push_back((place, text(id)?));
        }
        Ok(())
    }
}
