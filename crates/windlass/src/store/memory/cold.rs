//! What people look at and do, and what servers tell each other.

use super::*;
use crate::{
    decide::{
        entry::moment,
        operate::{Effect, effect},
        unique::needed_again,
    },
    job::ErrorEntry,
    store::SERVER_SILENT_AFTER,
};

/// The most jobs that one page of a listing looks at.
const PAGE_LOOKS_AT: usize = 10_000;
/// How long minute buckets and silent servers are kept, and how many wishes to cancel.
const KEEP_BUCKETS_MINUTES: i64 = 35 * 24 * 60;
const KEEP_WISHES: usize = 10_000;
/// How long the last claim of a server is remembered that has left, or whose signs of life do not come through: longer
/// than any call of it is under way.
const KEEP_CLAIM: Duration = Duration::from_secs(60);

#[async_trait]
impl Inspect for MemoryStore {
    async fn checkup(&self) -> Result<Vec<Check>> {
        let found = "what is in it ends with the process";
        Ok(vec![Check::warn("durability", found, "use sqlite:path for jobs that have to survive it")])
    }

    async fn get(&self, id: &JobId) -> Result<Option<JobRecord>> {
        let inner = self.inner.lock();
        Ok(inner.find(id).and_then(|seq| self.shown(&inner, seq)))
    }

    async fn list(&self, filter: &JobFilter, after: Option<Cursor>, limit: u32) -> Result<JobPage> {
        let inner = self.inner.lock();
        let from = after.map_or(0, |cursor| cursor.0 as u64 + 1);
        let mut page = JobPage::default();
        for (looked, (seq, job)) in inner.jobs.iter_from(from).enumerate() {
            if page.items.len() >= limit.min(1000) as usize || looked >= PAGE_LOOKS_AT {
                page.next = Some(Cursor(seq as i64 - 1));
                break;
            }
            if filter.matches(&job.record) {
                let listed = |record| JobRecord { checkpoint: None, log: Vec::new(), ..record };
                page.items.extend(self.shown(&inner, seq).map(listed));
            }
        }
        Ok(page)
    }

    async fn census(&self) -> Result<Census> {
        let inner = self.inner.lock();
        let mut queues: Vec<_> = inner.queues.iter().map(|queue| inner.census_of(queue)).collect();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Census { enqueued: inner.enqueued, removed: inner.removed, queues, now: self.env.wall() })
    }

    async fn outstanding(&self, queues: &[QueueName], kinds: &KindFilter, groups: &[Pattern]) -> Result<u64> {
        let inner = self.inner.lock();
        let lines =
            queues.iter().filter_map(|queue| inner.queue_names.get(queue)).flat_map(|at| &inner.queues[*at].lines);
        let handled = lines.map(|line| &inner.lines[*line]).filter(|line| kinds.rule_for(line.kind.as_str()).is_some());
        let handled: u64 = handled.map(Line::outstanding).sum();
        Ok(handled + u64::from(inner.aggregates(queues, groups)))
    }

    async fn tallies(&self, since: Timestamp) -> Result<Tallies> {
        let inner = self.inner.lock();
        let mut tallies = Tallies::default();
        let mut lines: BTreeMap<usize, Bucket> = BTreeMap::new();
        for ((_, line), bucket) in inner.buckets.range((since.minute(), 0)..) {
            lines.entry(*line).or_default().merge(bucket);
        }
        for (line, bucket) in lines {
            let line = &inner.lines[line];
            let (queue, kind) = (inner.queues[line.queue].name.to_string(), line.kind.to_string());
            tallies.lines.push(TallyLine { queue, kind, bucket });
        }
        for ((_, tenant), bucket) in inner.tenant_buckets.range((since.minute(), "".into())..) {
            tallies.tenants.entry(tenant.to_string()).or_default().merge(bucket);
        }
        Ok(tallies)
    }

    async fn servers(&self) -> Result<Vec<ServerInfo>> {
        let now = self.env.wall();
        Ok(self.inner.lock().live_servers(now).cloned().collect())
    }
}

impl MemoryStore {
    fn shown(&self, inner: &Inner, seq: u64) -> Option<JobRecord> {
        let job = inner.jobs.get(seq)?;
        let mut record = job.record.clone();
        if record.state == State::Running
            && let Some(batch) = inner.leases.get(&job.lease)
        {
            let (now, mono) = (self.env.wall(), self.env.monotonic());
            let left = batch.until.since(mono);
            record.lease_until =
                Some(if left.is_zero() { now.before(mono.since(batch.until)) } else { now.after(left) });
        }
        Some(record)
    }
}

impl Inner {
    fn census_of(&self, queue: &Queue) -> QueueCensus {
        let mut census =
            QueueCensus { name: queue.name.clone(), paused: queue.paused, by_state: [0; 9], oldest_pending: None };
        for line in queue.lines.iter().map(|line| &self.lines[*line]) {
            census.by_state.iter_mut().zip(line.by_state).for_each(|(sum, count)| *sum += count);
            let heads = line.oldest().filter_map(|seq| self.jobs.get(seq)?.record.pending_at);
            census.oldest_pending = heads.chain(census.oldest_pending).min();
        }
        census
    }

    fn live_servers(&self, now: Timestamp) -> impl Iterator<Item = &ServerInfo> {
        self.servers.values().filter(move |server| now.since(server.seen_at) <= SERVER_SILENT_AFTER)
    }

    fn operate(&mut self, id: &JobId, action: &Action, now: Timestamp) -> Operated {
        let Some(seq) = self.find(id) else { return Operated::NotFound };
        let Some(job) = self.jobs.get_mut(seq) else { return Operated::NotFound };
        let from = job.record.state;
        match effect(action, from, job.grouped()) {
            Effect::Conflict => return Operated::Conflict { state: from, holder: None },
            Effect::Remove => {
                self.remove(seq);
                return Operated::Removed;
            }
            Effect::Edit => {
                if let Action::Edit { payload } = action {
                    Arc::make_mut(&mut job.record.spec).payload = payload.clone();
                    job.record.updated_at = now;
                    // They belong to the payload that was.
                    job.record.progress = None;
                    job.record.checkpoint = None;
                }
                if from == State::Aggregating {
                    self.renumber(seq);
                }
                return Operated::Done(from);
            }
            Effect::AskToCancel => {
                if let Action::Cancel { reason } = action {
                    self.wish(seq, reason);
                }
                return Operated::Done(from);
            }
            Effect::Become(to) => {
                if let Some(key) = needed_again(job.record.spec.unique, from, to)
                    && let Some(holder) = self.retake_key(key, seq)
                {
                    return Operated::Conflict { state: from, holder: Some(holder) };
                }
                self.change(seq, to, Cause::Operate, now);
                self.after_operating(seq, action, now);
            }
        }
        self.jobs.get(seq).map_or(Operated::Removed, |job| Operated::Done(job.record.state))
    }

    fn after_operating(&mut self, seq: u64, action: &Action, now: Timestamp) {
        match action {
            Action::Cancel { reason } => self.settle(seq, Some(reason.clone()), now, None),
            Action::Bury => self.settle(seq, Some(DeadReason::Buried.as_str().into()), now, None),
            Action::Redrive => {
                if let Some(job) = self.jobs.get_mut(seq) {
                    job.record.failures = 0;
                    job.record.crashes = 0;
                    job.suspect = false;
                }
                if self.jobs.get(seq).is_some_and(|job| job.record.state == State::Aggregating) {
                    self.join(seq, now);
                } else {
                    self.line_up(seq, false, now);
                }
            }
            Action::Reschedule { start } => {
                self.wait_until(seq, moment(*start, now));
            }
            _ => self.line_up(seq, false, now),
        }
    }

    /// Takes the unique key of a job that comes back to life; answers who holds it instead.
    fn retake_key(&mut self, key: UniqueKey, seq: u64) -> Option<JobId> {
        let holder = *self.live_keys.entry(key).or_insert(seq);
        (holder != seq).then(|| self.jobs.get(holder).map(|job| job.record.spec.id.clone())).flatten()
    }

    fn wish(&mut self, seq: u64, reason: &Arc<str>) {
        let Some(job) = self.jobs.get_mut(seq) else { return };
        job.record.cancel_requested = Some(reason.clone());
        let lease = Lease { id: job.record.spec.id.clone(), fence: job.record.fence.unwrap_or(Fence(0)) };
        self.last_wish += 1;
        self.wishes.push_back((self.last_wish, CancelWish { lease, reason: reason.clone() }));
        if self.wishes.len() > KEEP_WISHES {
            self.wishes.pop_front();
        }
    }

    /// Forgets what is no job, at most so many of each; says whether there may be more.
    fn prune_others(&mut self, limit: usize, now: Timestamp, mono: Monotonic, boot: &Arc<str>) -> bool {
        let keys: Vec<_> =
            self.timed_keys_expire.iter().take_while(|(at, _)| *at <= now).take(limit).copied().collect();
        for (at, key) in &keys {
            self.timed_keys_expire.remove(&(*at, *key));
            self.timed_keys.remove(key);
        }
        let oldest = now.minute() - KEEP_BUCKETS_MINUTES;
        let lines: Vec<_> = self.buckets.range(..(oldest, 0)).take(limit).map(|(at, _)| *at).collect();
        lines.iter().for_each(|at| drop(self.buckets.remove(at)));
        let tenants = self.tenant_buckets.range(..(oldest, "".into())).take(limit);
        let tenants: Vec<_> = tenants.map(|(at, _)| at.clone()).collect();
        tenants.iter().for_each(|at| drop(self.tenant_buckets.remove(at)));
        self.servers.retain(|_, server| now.since(server.seen_at) <= Duration::from_secs(24 * 3600));
        let (servers, leases) = (&self.servers, &self.leases);
        self.last_claims.retain(|server, last| {
            let fresh = mono.since(last.at) < KEEP_CLAIM;
            fresh || servers.contains_key(server) || leases.contains_key(&last.fence)
        });
        let (lines, tenants) = (lines.len(), tenants.len());
        self.prune_locks(mono, boot, limit) || [keys.len(), lines, tenants].contains(&limit)
    }

    fn expired(&self, limit: usize, now: Timestamp) -> Vec<u64> {
        self.expiring.iter().take_while(|(at, _)| *at <= now).map(|(_, seq)| *seq).take(limit).collect()
    }

    fn older(&self, than: Duration, states: &[State], limit: usize, now: Timestamp) -> Vec<u64> {
        let until = now.before(than);
        let states = State::ALL.into_iter().filter(|state| states.contains(state));
        let ended = states.flat_map(|state| {
            let (first, last) = (Timestamp::from_micros(i64::MIN), until);
            self.ended.range((state.code(), first, 0)..=(state.code(), last, u64::MAX))
        });
        ended.map(|(.., seq)| *seq).take(limit).collect()
    }

    fn sweep_unknown(&mut self, after: Duration, limit: usize, now: Timestamp) -> u32 {
        let elapsed = self.swept.replace(now).map_or(Duration::ZERO, |swept| now.since(swept));
        let servers: Vec<(Vec<QueueName>, KindFilter)> = self
            .live_servers(now)
            .map(|server| {
                let kinds = KindFilter::of(server.kinds.iter().map(String::as_str)).unwrap_or_default();
                (server.queues.iter().map(|(queue, _)| queue.clone()).collect(), kinds)
            })
            .collect();
        if servers.is_empty() {
            return 0;
        }
        let mut buried = Vec::new();
        for line in &mut self.lines {
            let queue = &self.queues[line.queue].name;
            let declared = servers
                .iter()
                .any(|(queues, kinds)| queues.contains(queue) && kinds.rule_for(line.kind.as_str()).is_some());
            // A sweep that comes late (nobody was there to sweep) counts for little.
            let counted = elapsed.min(SERVER_SILENT_AFTER * 4);
            let more = line.undeclared_us + u64::try_from(counted.as_micros()).unwrap_or(u64::MAX);
            line.undeclared_us = if declared || line.outstanding() == 0 { 0 } else { more };
            if Duration::from_micros(line.undeclared_us) >= after && !declared {
                let old = |seq: &u64| {
                    let since = self.jobs.get(*seq).and_then(|job| job.record.pending_at);
                    since.is_some_and(|since| now.since(since) >= after)
                };
                let room = limit - buried.len();
                buried.extend(line.pending.values().chain(line.suspects.values()).copied().filter(old).take(room));
            }
        }
        for seq in &buried {
            if let Some(job) = self.jobs.get_mut(*seq) {
                let message = "no live server has handled its kind for long";
                let entry = ErrorEntry::new(now, job.record.attempt, ErrorClass::UnknownKind, message);
                ErrorEntry::push(&mut job.record.errors, entry);
            }
            self.change(*seq, State::Dead, Cause::Sweep, now);
            self.settle(*seq, Some(DeadReason::UnknownKind.as_str().into()), now, None);
        }
        buried.len() as u32
    }
}

#[async_trait]
impl Operate for MemoryStore {
    async fn operate(&self, id: &JobId, action: &Action) -> Result<Operated> {
        let operated = self.inner.lock().operate(id, action, self.env.wall());
        self.waker.wake();
        Ok(operated)
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool> {
        let mut inner = self.inner.lock();
        let Some(place) = inner.queue_names.get(queue).copied() else { return Ok(false) };
        inner.queues[place].paused = paused;
        self.waker.wake();
        Ok(true)
    }

    async fn prune(&self, what: &Prune, limit: u32) -> Result<Pruned> {
        let now = self.env.wall();
        let mut inner = self.inner.lock();
        let limit = limit as usize;
        let (mut seqs, others_left) = match what {
            Prune::Expired => {
                let left = inner.prune_others(limit, now, self.env.monotonic(), &self.env.boot());
                (inner.expired(limit + 1, now), left)
            }
            Prune::Older { than, states } => (inner.older(*than, states, limit + 1, now), false),
        };
        let more = seqs.len() > limit || others_left;
        seqs.truncate(limit);
        seqs.iter().for_each(|seq| inner.remove(*seq));
        Ok(Pruned { removed: seqs.len() as u64, more })
    }
}

#[async_trait]
impl Cluster for MemoryStore {
    async fn beat(&self, server: &ServerInfo) -> Result<()> {
        let seen = ServerInfo { seen_at: self.env.wall(), ..server.clone() };
        self.inner.lock().servers.insert(server.id, seen);
        Ok(())
    }

    async fn leave(&self, server: ServerId) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.servers.remove(&server);
        // A claim that was delayed on its way has been passed by.
        let at = self.env.monotonic();
        inner.last_claims.insert(server, LastClaim { sequence: u64::MAX, fence: 0, members: Vec::new(), at });
        Ok(())
    }

    async fn sweep_unknown(&self, after: Duration, limit: u32) -> Result<u32> {
        Ok(self.inner.lock().sweep_unknown(after, limit as usize, self.env.wall()))
    }
}
