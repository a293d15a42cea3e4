//! Groups: the jobs that wait in them, and the step that makes one job of them.

use std::{collections::HashSet, ops::Bound};

use super::*;
use crate::job::{GroupInfo, GroupKey, GroupMember, MAX_MEMBERS, Pattern};

/// The members of one group.
#[derive(Default)]
pub(super) struct Members {
    /// By when they came in, then by number.
    by_age: BTreeSet<(Timestamp, u64)>,
    /// When it was last asked that they be flushed.
    asked: Option<Timestamp>,
}

impl Members {
    fn info(&self, key: &GroupKey) -> Option<GroupInfo> {
        let ((oldest, _), (newest, _)) = (*self.by_age.first()?, *self.by_age.last()?);
        let size = self.by_age.len().min(MAX_MEMBERS as usize) as u32;
        let mut info = GroupInfo::new(key.clone(), size, oldest, newest);
        info.flush_asked = self.asked.is_some_and(|asked| oldest <= asked);
        Some(info)
    }
}

/// Takes an aggregating job out of its group, which is gone with its last member.
pub(super) fn leave_group(groups: &mut BTreeMap<GroupKey, Members>, seq: u64, record: &JobRecord) {
    let Some(key) = GroupKey::of(&record.spec) else { return };
    if let Some(members) = groups.get_mut(&key) {
        members.by_age.remove(&(record.pending_at.unwrap_or_default(), seq));
        if members.by_age.is_empty() {
            groups.remove(&key);
        }
    }
}

impl Inner {
    /// Puts an aggregating job into its group.
    pub(super) fn join(&mut self, seq: u64, now: Timestamp) {
        self.renumber(seq);
        let job = self.jobs.get_mut(seq).expect("only jobs that are there join a group");
        job.record.pending_at = Some(now);
        job.record.run_at = None;
        if let Some(key) = GroupKey::of(&job.record.spec) {
            self.groups.entry(key).or_default().by_age.insert((now, seq));
        }
    }

    /// Whoever has read the job before cannot flush it any more.
    pub(super) fn renumber(&mut self, seq: u64) {
        if let Some(job) = self.jobs.get_mut(seq) {
            job.turn = self.back;
            self.back += 1;
        }
    }

    fn page(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32, now: Timestamp) -> GroupPage {
        let limit = limit.min(1000) as usize;
        let first = queue.clone().map(|queue| GroupKey::new(queue, ""));
        let past = after.max(first).map_or(Bound::Unbounded, Bound::Excluded);
        let of_queue = |key: &GroupKey| queue.as_ref().is_none_or(|queue| *queue == key.queue);
        let found = self.groups.range((past, Bound::Unbounded)).take_while(|(key, _)| of_queue(key));
        let mut items: Vec<_> = found.filter_map(|(key, members)| members.info(key)).take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|group| group.key.clone());
        GroupPage { items, next, now }
    }

    fn members(&self, group: &GroupKey, limit: u32) -> Vec<GroupMember> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        let members = self.groups.get(group).into_iter().flat_map(|members| &members.by_age);
        for job in members.filter_map(|(_, seq)| self.jobs.get(*seq)).take(limit.min(MAX_MEMBERS) as usize) {
            bytes += job.record.spec.payload.len();
            if bytes > MEMBERS_BYTES && !read.is_empty() {
                break;
            }
            read.push(GroupMember::new(job.record.spec.clone(), job.turn));
        }
        read
    }

    fn flush(&mut self, flush: &Flush, now: Timestamp) -> Flushed {
        let Some(members) = self.as_read(flush) else { return Flushed::Changed };
        if let Some(Enqueued::Duplicate(id, state)) = self.duplicate_of(&flush.into, now)
            && !self.is_freed(flush, &id, &members)
        {
            return Flushed::Taken(id, state);
        }
        let into = flush.into.spec.id.clone();
        for seq in members {
            self.change(seq, State::Completed, Cause::Flush, now);
            if let Some(job) = self.jobs.get_mut(seq) {
                job.record.flushed_into = Some(into.clone());
            }
            self.settle(seq, None, now, None);
        }
        self.enqueue(vec![flush.into.clone()], now);
        Flushed::Into(into)
    }

    /// The members, if each of them still waits in the group as it was read.
    fn as_read(&self, flush: &Flush) -> Option<HashSet<u64>> {
        let mut members = HashSet::new();
        for (id, version) in &flush.members {
            let seq = self.find(id)?;
            let job = self.jobs.get(seq)?;
            let waits = job.record.state == State::Aggregating && job.turn == *version;
            if !waits || GroupKey::of(&job.record.spec).as_ref() != Some(&flush.group) || !members.insert(seq) {
                return None;
            }
        }
        Some(members)
    }

    /// Whether what stands in the way of the new job is the key of a member, which ends in the same step.
    fn is_freed(&self, flush: &Flush, holder: &JobId, members: &HashSet<u64>) -> bool {
        let live = flush.into.spec.unique.is_some_and(|unique| unique.mode == crate::job::UniqueMode::UntilDone);
        live && *holder != flush.into.spec.id && self.find(holder).is_some_and(|seq| members.contains(&seq))
    }

    /// Whether any member waits in a group of these queues and names.
    pub(super) fn aggregates(&self, queues: &[QueueName], names: &[Pattern]) -> bool {
        let named = |key: &GroupKey| names.iter().any(|pattern| pattern.matches(&key.name));
        !names.is_empty() && self.groups.keys().any(|key| queues.contains(&key.queue) && named(key))
    }
}

#[async_trait]
impl Groups for MemoryStore {
    async fn groups(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32) -> Result<GroupPage> {
        Ok(self.inner.lock().page(queue, after, limit, self.env.wall()))
    }

    async fn members(&self, group: &GroupKey, limit: u32) -> Result<Vec<GroupMember>> {
        Ok(self.inner.lock().members(group, limit))
    }

    async fn flush(&self, flush: &Flush) -> Result<Flushed> {
        flush.check()?;
        let flushed = self.inner.lock().flush(flush, self.env.wall());
        if matches!(flushed, Flushed::Into(_)) {
            self.waker.wake();
        }
        Ok(flushed)
    }

    async fn ask_flush(&self, group: &GroupKey) -> Result<bool> {
        let now = self.env.wall();
        let mut inner = self.inner.lock();
        let Some(members) = inner.groups.get_mut(group) else { return Ok(false) };
        // Members that came in by a clock that has been set back since count as there, too.
        let newest = members.by_age.last().map_or(now, |(at, _)| *at);
        members.asked = Some(now.max(newest));
        Ok(true)
    }

    async fn delete_members(&self, group: &GroupKey, limit: u32) -> Result<u32> {
        let now = self.env.wall();
        let mut inner = self.inner.lock();
        let members = inner.groups.get(group).into_iter().flat_map(|members| &members.by_age);
        let seqs: Vec<u64> = members.map(|(_, seq)| *seq).take(limit as usize).collect();
        seqs.iter().for_each(|seq| inner.remove(*seq, now));
        self.waker.wake();
        Ok(seqs.len() as u32)
    }
}
