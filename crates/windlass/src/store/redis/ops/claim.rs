//! Takes jobs: from each queue its share, then from each in order what is left of the limit.
//! Every look of a claim at a queue carries the claim's number, so that the whole claim may be repeated.

use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use super::{
    Held, Shared, arg,
    finish::bury_unreadable,
    lease,
    pack::{Pack, Unpack},
    record::{ClaimRow, claimed},
    reply::bytes,
    scripts,
};
use crate::{
    job::{Pattern, QueueName, micros},
    store::{Claim, ClaimRequest, Claimed, Result},
};

const MOST: u32 = 500;
/// How often a claim looks further back in a list whose end holds nothing for it. The next claim goes on from there.
const FAR_LOOKS: usize = 4;

pub(in super::super) async fn claim(store: &Shared, request: &ClaimRequest) -> Result<Claim> {
    if store.left.lock().contains_key(&request.server) {
        return Ok(Claim::default());
    }
    lease::know_the_clock(store).await?;
    let mut claiming = Claiming::new(store, request);
    let limit = if request.suspect { 0 } else { request.limit };
    for place in 0..request.shares.len() {
        claiming.take(place, 1, request.shares[place].quota.min(claiming.left(limit))).await?;
    }
    if claiming.fresh && request.suspect && request.limit > 0 {
        if let Some((_, _, place)) = claiming.suspect {
            claiming.look(place, 2, 1, true).await?;
        }
    } else if claiming.fresh {
        for place in 0..request.shares.len() {
            // A queue that gave less than its quota has no more to give.
            if claiming.left(limit) > 0 && claiming.full[place] {
                claiming.take(place, 2, claiming.left(limit)).await?;
            }
        }
    }
    for place in 0..request.shares.len() {
        claiming.look_further(place, limit).await?;
    }
    if claiming.again {
        // It has renewed leases, so it is a sign of life like any renewal.
        lease::pulse(store, request.lease, false).await?;
    }
    let suspect_waiting = claiming.suspect.map(|(waiting, ..)| Duration::from_micros(waiting.unsigned_abs()));
    let suspect_waiting = suspect_waiting.filter(|_| claiming.fresh);
    Ok(Claim { jobs: claiming.jobs, suspect_waiting })
}

struct Claiming<'c> {
    store: &'c Shared,
    request: &'c ClaimRequest,
    /// How many jobs of each rule's kinds may still be taken; -1: any number.
    rooms: Vec<i64>,
    /// How many jobs of kinds that are not quick may still be taken.
    slots: i64,
    jobs: Vec<Claimed>,
    /// Ids and fences of taken jobs that cannot be read here.
    unreadable: Vec<(Bytes, Bytes)>,
    /// Whether this claim has not been made before.
    fresh: bool,
    /// Whether this very claim has been made before.
    again: bool,
    /// Of each queue whether it gave all that it was asked for.
    full: Vec<bool>,
    /// Of each queue whether jobs of the claim's kinds may stand further back.
    further: Vec<bool>,
    /// The suspect that has waited longest: microseconds, its place in the order of enqueueing, its share.
    suspect: Option<(i64, i64, usize)>,
}

impl<'c> Claiming<'c> {
    fn new(store: &'c Shared, request: &'c ClaimRequest) -> Self {
        let room = |room: Option<u32>| room.map_or(-1, i64::from);
        Self {
            store,
            request,
            rooms: request.kinds.rules.iter().map(|rule| room(rule.room)).collect(),
            slots: i64::from(request.slots),
            jobs: Vec::new(),
            unreadable: Vec::new(),
            fresh: true,
            again: false,
            full: vec![false; request.shares.len()],
            further: vec![false; request.shares.len()],
            suspect: None,
        }
    }

    fn left(&self, limit: u32) -> u32 {
        limit.saturating_sub(u32::try_from(self.jobs.len()).unwrap_or(u32::MAX))
    }

    /// Takes up to so many jobs of a share, as many looks as that needs. A share of nothing is looked at once, for its
    /// suspects.
    async fn take(&mut self, place: usize, mut pass: u8, mut limit: u32) -> Result<()> {
        loop {
            let taken = self.look(place, pass, limit.min(MOST), false).await?;
            limit -= taken.min(limit);
            if !self.full[place] || limit == 0 || !self.fresh {
                return Ok(());
            }
            pass = 2;
        }
    }

    /// Looks past jobs of kinds that the claim does not take, a few stretches at most.
    async fn look_further(&mut self, place: usize, limit: u32) -> Result<()> {
        for _ in 0..FAR_LOOKS {
            if !self.fresh || !self.further[place] || self.left(limit) == 0 {
                break;
            }
            self.look(place, 3, self.left(limit).min(MOST), false).await?;
        }
        Ok(())
    }

    async fn look(&mut self, place: usize, pass: u8, limit: u32, suspect: bool) -> Result<u32> {
        let queue = self.request.shares[place].queue.clone();
        let asked = self.asked(pass, limit, suspect);
        let answer = bytes(self.store.on(&queue, &scripts::CLAIM, [asked]).await?)?;
        let taken = self.read(place, &queue, Unpack::new(answer))?;
        for (id, fence) in std::mem::take(&mut self.unreadable) {
            bury_unreadable(self.store, &queue, &id, &fence).await?;
        }
        self.full[place] = taken >= limit;
        Ok(taken)
    }

    /// What `lua/claim.lua` takes.
    fn asked(&self, pass: u8, limit: u32, suspect: bool) -> Vec<u8> {
        let request = self.request;
        let mut pack = Pack::default();
        pack.list(9).text(arg(request.server)).number(i64::try_from(request.sequence).unwrap_or(i64::MAX));
        pack.number(pass).number(limit).number(micros(request.lease)).number(u8::from(suspect)).number(self.slots);
        pack.list(request.quick.len());
        request.quick.iter().for_each(|kind| {
            pack.text(kind.as_str());
        });
        pack.list(self.rooms.len());
        for (rule, room) in std::iter::zip(&request.kinds.rules, &self.rooms) {
            let (how, text) = match &rule.pattern {
                Pattern::Exact(kind) => ("=", kind),
                Pattern::Prefix(prefix) => ("^", prefix),
            };
            pack.list(4).text(how).text(text.as_bytes()).number(*room).number(u8::from(rule.room != Some(0)));
        }
        pack.bytes()
    }

    /// Reads one queue's answer and gives the number of its jobs.
    fn read(&mut self, place: usize, queue: &QueueName, mut answer: Unpack) -> Result<u32> {
        answer.list()?;
        answer.number()?;
        self.store.note_top(answer.number()?);
        match &*answer.bytes()? {
            b"new" => {}
            standing => {
                self.fresh = false;
                self.again |= standing == b"again";
            }
        }
        let (waiting, suspect) = (answer.number()?, answer.number()?);
        let longest = |(old, first, _): (i64, i64, usize)| (waiting, -suspect) > (old, -first);
        if waiting >= 0 && self.suspect.is_none_or(longest) {
            self.suspect = Some((waiting, suspect, place));
        }
        self.further[place] = answer.number()? == 1;
        let slots = answer.number()?;
        let rooms = (0..answer.number()?).map(|_| answer.number()).collect::<Result<_>>()?;
        if self.fresh {
            (self.slots, self.rooms) = (slots, rooms);
        }
        let mut taken = 0;
        let mut held = self.store.held.lock();
        while !answer.is_empty() {
            let row = ClaimRow::read(&mut answer)?;
            let lease = (row.id.clone(), row.fence.clone());
            taken += 1;
            let (job, keyed) = match claimed(row) {
                Ok(read) => read,
                Err(error) => {
                    let id = String::from_utf8_lossy(&lease.0);
                    warn!(%error, job.id = %id, queue = queue.as_str(), "a job that cannot be read here is dead");
                    self.unreadable.push(lease);
                    continue;
                }
            };
            let spec = &job.spec;
            let plain = !keyed && spec.retention.is_zero() && spec.unique.is_none() && spec.exclusive.is_none();
            let (queue, spec) = (queue.clone(), job.spec.clone());
            let (fence, created, waited) = (job.fence, job.created_at, job.waited);
            held.insert(spec.id.clone(), Held { queue, spec, fence, created, waited, plain });
            self.jobs.push(job);
        }
        Ok(taken)
    }
}
