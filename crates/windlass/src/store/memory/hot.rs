//! The steps of the hot path: enqueue, claim, extend, finish, rescue.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::*;
use crate::{
    decide::{
        entry::{first_state, moment},
        rescue::{Fate, fate, is_suspect},
        unique::holds,
        verdict::with_wish,
    },
    job::{ErrorEntry, Monotonic, Unique, UniqueMode},
};

impl Inner {
    /// Above all others, and seeded from the clock, so that a store that starts anew does not repeat one.
    pub(super) fn next_fence(&mut self, now: Timestamp) -> u64 {
        self.fence = (self.fence + 1).max(u64::try_from(now.as_micros()).unwrap_or(0).saturating_mul(1000));
        self.fence
    }

    pub(super) fn enqueue(&mut self, jobs: Vec<NewJob>, now: Timestamp) -> Vec<Enqueued> {
        jobs.into_iter().map(|job| self.enqueue_one(job, now)).collect()
    }

    fn enqueue_one(&mut self, new: NewJob, now: Timestamp) -> Enqueued {
        if let Some(duplicate) = self.duplicate_of(&new, now) {
            return duplicate;
        }
        let spec = new.spec;
        let run_at = moment(new.start, now);
        let state = first_state(run_at, now, spec.group.is_some());
        let line = self.line(&spec.queue, &spec.kind);
        let id = spec.id.clone();
        let seq = self.jobs.next();
        match spec.unique {
            Some(unique) if unique.mode == UniqueMode::UntilDone => {
                self.live_keys.insert(unique.key, seq);
            }
            Some(Unique { key, mode: UniqueMode::Idempotency { ttl } }) => {
                let expires = now.after(ttl);
                if let Some((_, old)) = self.timed_keys.insert(key, (id.clone(), expires)) {
                    self.timed_keys_expire.remove(&(old, key));
                }
                self.timed_keys_expire.insert((expires, key));
            }
            _ => {}
        }
        let record = JobRecord::new(spec, state, now);
        self.jobs.push(Job { record, line, turn: 0, suspect: false, lease: 0, expires: None, said: None });
        self.lines[line].by_state[state.code() as usize] += 1;
        self.ids.insert(&id, seq);
        self.enqueued += 1;
        match state {
            State::Pending => self.line_up(seq, false, now),
            State::Aggregating => self.join(seq, now),
            _ => self.wait_until(seq, run_at),
        }
        Enqueued::New(id)
    }

    pub(super) fn duplicate_of(&self, new: &NewJob, now: Timestamp) -> Option<Enqueued> {
        let of = |seq: u64| {
            let job = self.jobs.get(seq)?;
            Some(Enqueued::Duplicate(job.record.spec.id.clone(), Some(job.record.state)))
        };
        if let Some(seq) = self.find(&new.spec.id) {
            return of(seq);
        }
        let unique = new.spec.unique?;
        match unique.mode {
            UniqueMode::UntilDone => of(*self.live_keys.get(&unique.key)?),
            UniqueMode::Idempotency { .. } => {
                let (id, expires) = self.timed_keys.get(&unique.key)?;
                let state = self.find(id).and_then(|seq| self.jobs.get(seq)).map(|job| job.record.state);
                holds(*expires, now).then(|| Enqueued::Duplicate(id.clone(), state))
            }
        }
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest, now: Timestamp, mono: Monotonic, boot: Arc<str>) -> Claim {
        if let Some(last) = self.last_claims.get(&request.server)
            && last.sequence == request.sequence
        {
            let jobs = self.still_held(last);
            // Who asks again counts its time from this request, so the leases do, too.
            let leases = jobs.iter().map(Claimed::lease).collect();
            let renewal = ExtendRequest { server: request.server, leases, lease: request.lease, ran_late: false };
            self.extend(&renewal, mono, &boot);
            return Claim { jobs, suspect_waiting: None };
        }
        if self.last_claims.get(&request.server).is_some_and(|last| request.sequence < last.sequence) {
            // It arrives late: who sent it has long repeated it and gone on, and would never hear of its jobs.
            return Claim::default();
        }
        let mut picker = Picker::new(self, request);
        let suspect_waiting = picker.oldest_suspect(self, now);
        let seqs = if request.suspect { picker.take_suspect(self) } else { picker.take(self, request) };
        self.next_fence(now);
        if !seqs.is_empty() {
            let (until, live) = (mono.after(request.lease), seqs.len());
            let batch = LeaseBatch { server: request.server, until, boot, members: seqs.clone(), live };
            self.leases.insert(self.fence, batch);
        }
        let jobs = seqs.iter().map(|seq| self.start_run(*seq, request.server, now)).collect();
        let last = LastClaim { sequence: request.sequence, fence: self.fence, members: seqs, at: mono };
        self.last_claims.insert(request.server, last);
        Claim { jobs, suspect_waiting }
    }

    fn start_run(&mut self, seq: u64, server: ServerId, now: Timestamp) -> Claimed {
        // The picker has taken it out of its line.
        self.enter(seq, State::Running, Cause::Claim, now);
        let job = self.jobs.get_mut(seq).expect("the picker gives jobs that are there");
        job.lease = self.fence;
        let record = &mut job.record;
        record.fence = Some(Fence(self.fence));
        record.attempt = record.failures + 1;
        record.started_at = Some(now);
        record.server = Some(server);
        claimed(record)
    }

    /// By the fence, not by the lease: a renewal of some may have split the lease since.
    fn still_held(&self, last: &LastClaim) -> Vec<Claimed> {
        let members = last.members.iter().filter_map(|seq| self.jobs.get(*seq));
        let held = |job: &&Job| job.record.state == State::Running && job.record.fence == Some(Fence(last.fence));
        let mut held: Vec<_> = members.filter(held).collect();
        held.sort_by_key(|job| job.order());
        held.into_iter().map(|job| claimed(&job.record)).collect()
    }

    pub(super) fn extend(&mut self, request: &ExtendRequest, mono: Monotonic, boot: &Arc<str>) -> Vec<Lease> {
        self.stamp(mono, boot, request.lease, request.ran_late);
        let mut lost = Vec::new();
        let mut named: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for lease in &request.leases {
            match self.held(lease) {
                Some(seq) => named.entry(self.jobs.get(seq).map_or(0, |job| job.lease)).or_default().push(seq),
                None => lost.push(lease.clone()),
            }
        }
        for (key, mut seqs) in named {
            seqs.sort_unstable();
            seqs.dedup();
            let until = mono.after(request.lease);
            let Some(batch) = self.leases.get_mut(&key) else { continue };
            if seqs.len() == batch.live {
                batch.until = until;
                batch.boot = boot.clone();
                continue;
            }
            // Only the named are renewed: they move to a lease of their own.
            batch.live -= seqs.len();
            batch.members.retain(|seq| !seqs.contains(seq));
            let server = batch.server;
            self.fence += 1;
            for seq in &seqs {
                if let Some(job) = self.jobs.get_mut(*seq) {
                    job.lease = self.fence;
                }
            }
            let live = seqs.len();
            self.leases.insert(self.fence, LeaseBatch { server, until, boot: boot.clone(), members: seqs, live });
        }
        lost
    }

    fn stamp(&mut self, mono: Monotonic, boot: &str, lease: Duration, ran_late: bool) {
        // Another boot has another monotonic clock: nothing of the old one can be compared with it.
        if *self.boot != *boot {
            self.boot = boot.into();
            self.pulse = Pulse::new(mono);
        }
        self.pulse = self.pulse.stamp(mono, lease, ran_late);
    }

    /// The job, if this lease is the one that holds it.
    pub(super) fn held(&self, lease: &Lease) -> Option<u64> {
        let seq = self.find(&lease.id)?;
        let record = &self.jobs.get(seq)?.record;
        (record.state == State::Running && record.fence == Some(lease.fence)).then_some(seq)
    }

    pub(super) fn finish(&mut self, finish: Finish, now: Timestamp) -> Finished {
        let Some(seq) = self.held(&finish.lease) else { return Finished::Stale };
        finish.news.iter().for_each(|news| self.take_news(seq, news));
        let state = self.apply(seq, finish.verdict, finish.error, finish.result, finish.ran, now);
        self.enqueue(finish.then, now);
        Finished::Applied(state)
    }

    fn apply(
        &mut self,
        seq: u64,
        verdict: Verdict,
        error: Option<Failure>,
        result: Option<Bytes>,
        ran: Duration,
        now: Timestamp,
    ) -> State {
        let Some(job) = self.jobs.get_mut(seq) else { return State::Completed };
        let record = &mut job.record;
        if let Some(error) = error {
            ErrorEntry::push(&mut record.errors, ErrorEntry::new(now, record.attempt, error.class, &*error.message));
        }
        record.result = result.or(record.result.take());
        let waited = record.started_at.unwrap_or(now).since(record.pending_at.unwrap_or(now));
        let verdict = with_wish(verdict, record.cancel_requested.as_ref());
        let run = Some((waited, ran));
        match verdict {
            Verdict::Complete => {
                self.change(seq, State::Completed, Cause::Finish, now);
                self.settle(seq, None, now, run);
                State::Completed
            }
            Verdict::RetryIn(wait) => {
                record.failures += 1;
                let (line, tenant) = (job.line, job.record.spec.tenant.clone());
                self.change(seq, State::Retrying, Cause::Finish, now);
                self.wait_until(seq, now.after(wait));
                self.count(line, tenant, State::Retrying, now, run, Duration::ZERO);
                State::Retrying
            }
            Verdict::Snooze(wait) => {
                record.snoozes += 1;
                self.change(seq, State::Scheduled, Cause::Finish, now);
                self.wait_until(seq, now.after(wait));
                State::Scheduled
            }
            Verdict::Release => {
                self.change(seq, State::Pending, Cause::Release, now);
                self.line_up(seq, true, now);
                State::Pending
            }
            Verdict::Bury(reason) => {
                record.failures += u32::from(reason == DeadReason::Exhausted);
                self.change(seq, State::Dead, Cause::Finish, now);
                self.settle(seq, Some(reason.as_str().into()), now, run);
                State::Dead
            }
            Verdict::Cancel(reason) => {
                self.change(seq, State::Cancelled, Cause::Finish, now);
                self.settle(seq, Some(reason), now, run);
                State::Cancelled
            }
        }
    }

    pub(super) fn rescue(&mut self, rules: &RescueRules, now: Timestamp, mono: Monotonic, boot: &str) -> Rescued {
        self.stamp(mono, boot, rules.lease, rules.ran_late);
        if !self.pulse.may_rescue(mono) {
            return Rescued::default();
        }
        // There are as many leases as claims that somebody holds now.
        let lapsed = self.leases.iter().filter(|(_, batch)| batch.until <= mono || *batch.boot != *boot);
        // In the order in which they were claimed, whatever renewals have done to the leases since.
        let mut members: Vec<_> = lapsed
            .flat_map(|(key, batch)| {
                let held = |seq: &u64| self.jobs.get(*seq).filter(|job| is_held(job, *key)).map(|job| (job, *seq));
                batch.members.iter().filter_map(held)
            })
            .map(|(job, seq)| (job.record.fence, job.order(), seq))
            .collect();
        members.sort_unstable();
        let mut seqs: Vec<u64> = members.into_iter().map(|(.., seq)| seq).take(rules.limit as usize + 1).collect();
        let more = seqs.len() > rules.limit as usize;
        seqs.truncate(rules.limit as usize);
        // The last one to go to the front stands first: so they keep their order.
        let mut jobs: Vec<_> = seqs.into_iter().rev().map(|seq| self.rescue_one(seq, rules, now)).collect();
        jobs.reverse();
        Rescued { jobs, more }
    }

    fn rescue_one(&mut self, seq: u64, rules: &RescueRules, now: Timestamp) -> RescuedJob {
        let job = self.jobs.get_mut(seq).expect("members that hold are there");
        let record = &mut job.record;
        record.crashes += 1;
        let server = record.server.map(|server| server.to_string()).unwrap_or_default();
        let message = format!("the process that ran it vanished (server {server})");
        ErrorEntry::push(&mut record.errors, ErrorEntry::new(now, record.attempt, ErrorClass::Crash, message));
        let wish = record.cancel_requested.clone();
        let fate = fate(record.crashes, rules.poison_after, wish.is_some());
        let rescued = RescuedJob {
            id: record.spec.id.clone(),
            kind: record.spec.kind.as_str().into(),
            queue: record.spec.queue.clone(),
            fence: record.fence.unwrap_or(Fence(0)),
            attempt: record.attempt,
            state: fate.state(),
        };
        job.suspect = is_suspect(record.crashes, rules.poison_after);
        self.change(seq, fate.state(), Cause::Rescue, now);
        match fate {
            Fate::Pending => self.line_up(seq, true, now),
            Fate::Dead(reason) => self.settle(seq, Some(reason.as_str().into()), now, None),
            Fate::Cancelled => self.settle(seq, wish, now, None),
        }
        rescued
    }
}

fn is_held(job: &Job, lease: u64) -> bool {
    job.record.state == State::Running && job.lease == lease
}

fn claimed(record: &JobRecord) -> Claimed {
    let started = record.started_at.unwrap_or(record.created_at);
    Claimed {
        spec: record.spec.clone(),
        fence: record.fence.unwrap_or(Fence(0)),
        attempt: record.attempt,
        failures: record.failures,
        crashes: record.crashes,
        snoozes: record.snoozes,
        created_at: record.created_at,
        waited: started.since(record.pending_at.unwrap_or(started)),
        checkpoint: record.checkpoint.clone(),
    }
}

/// Picks the jobs of one claim: merges the heads of the lines that the request may take from.
struct Picker {
    /// Per share: the lines it may take from, each with its rule and whether its kind is quick.
    lines: Vec<Vec<(usize, usize, bool)>>,
    room: Vec<u32>,
    /// The room for kinds that are not quick.
    slots: u32,
    picked: Vec<u64>,
}

impl Picker {
    fn new(inner: &Inner, request: &ClaimRequest) -> Self {
        let lines_of = |share: &QueueShare| {
            let queue = inner.queue_names.get(&share.queue).map(|place| &inner.queues[*place]);
            let lines = queue.filter(|queue| !queue.paused).map_or(&[][..], |queue| &queue.lines);
            let ruled = |at: &usize| {
                let line = &inner.lines[*at];
                if line.pending.is_empty() && line.suspects.is_empty() {
                    return None;
                }
                Some((*at, request.kinds.rule_for(line.kind.as_str())?, request.quick.contains(&line.kind)))
            };
            lines.iter().filter_map(ruled).collect()
        };
        Self {
            lines: request.shares.iter().map(lines_of).collect(),
            room: request.kinds.rules.iter().map(|rule| rule.room.unwrap_or(u32::MAX)).collect(),
            slots: request.slots,
            picked: Vec::new(),
        }
    }

    fn take(mut self, inner: &mut Inner, request: &ClaimRequest) -> Vec<u64> {
        let mut left = request.limit;
        for (place, share) in request.shares.iter().enumerate() {
            left -= self.take_from(inner, place, share.quota.min(left));
        }
        for place in 0..request.shares.len() {
            left -= self.take_from(inner, place, left);
        }
        self.picked
    }

    /// Takes up to `limit` jobs of one queue, by priority and turn over all its lines.
    fn take_from(&mut self, inner: &mut Inner, place: usize, limit: u32) -> u32 {
        let open = self.lines[place].iter().filter(|(_, rule, _)| self.room[*rule] > 0);
        let head = |inner: &Inner, line: usize| inner.lines[line].pending.first_key_value().map(|(order, _)| *order);
        let mut heads: BinaryHeap<Reverse<(Order, usize, usize, bool)>> =
            open.filter_map(|&(line, rule, quick)| Some(Reverse((head(inner, line)?, line, rule, quick)))).collect();
        let mut taken = 0;
        while taken < limit
            && let Some(Reverse((_, line, rule, quick))) = heads.pop()
        {
            if self.room[rule] == 0 || (self.slots == 0 && !quick) {
                continue;
            }
            // Out of the line at once, so that the next head is the next job.
            let Some((_, seq)) = inner.lines[line].pending.pop_first() else { continue };
            self.picked.push(seq);
            self.slots -= u32::from(!quick);
            self.room[rule] = self.room[rule].saturating_sub(u32::from(self.room[rule] != u32::MAX));
            taken += 1;
            if let Some(next) = head(inner, line) {
                heads.push(Reverse((next, line, rule, quick)));
            }
        }
        taken
    }

    fn suspects(&self, inner: &Inner) -> impl Iterator<Item = (Timestamp, u64, usize)> {
        let open = self.lines.iter().flatten().filter(|(_, rule, _)| self.room[*rule] > 0);
        open.filter_map(|(line, ..)| {
            let (_, seq) = inner.lines[*line].suspects.first_key_value()?;
            Some((inner.jobs.get(*seq)?.record.pending_at.unwrap_or_default(), *seq, *line))
        })
    }

    fn oldest_suspect(&self, inner: &Inner, now: Timestamp) -> Option<Duration> {
        self.suspects(inner).min().map(|(since, ..)| now.since(since))
    }

    fn take_suspect(&mut self, inner: &mut Inner) -> Vec<u64> {
        let oldest = self.suspects(inner).min();
        oldest.and_then(|(.., line)| inner.lines[line].suspects.pop_first()).map(|(_, seq)| seq).into_iter().collect()
    }
}
