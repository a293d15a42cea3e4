//! Exclusive jobs: who holds a key, and who is blocked by it.

use super::*;
use crate::decide::exclusive::frees;

/// A key of a queue.
pub(super) type Key = (QueueName, Arc<str>);

/// A key that somebody holds.
pub(super) struct Slot {
    holder: u64,
    /// Whoever comes next stands first.
    blocked: BTreeMap<Order, u64>,
}

pub(super) fn key_of(record: &JobRecord) -> Option<Key> {
    record.spec.exclusive.clone().map(|key| (record.spec.queue.clone(), key))
}

impl Inner {
    /// The state of a job that nothing but its key may keep out of line.
    pub(super) fn ready(&self, spec: &JobSpec) -> State {
        let taken = |key: &Arc<str>| self.slots.contains_key(&(spec.queue.clone(), key.clone()));
        if spec.exclusive.as_ref().is_some_and(taken) { State::Blocked } else { State::Pending }
    }

    /// Stands a job where its state says: in line, or behind the holder of its key.
    pub(super) fn stand(&mut self, seq: u64, now: Timestamp) {
        let job = self.jobs.get_mut(seq).expect("only jobs that are there are stood anywhere");
        if job.record.state != State::Blocked {
            return self.line_up(seq, false, now);
        }
        job.turn = self.back;
        self.back += 1;
        job.record.pending_at = Some(now);
        job.record.run_at = None;
        if let Some(slot) = key_of(&job.record).and_then(|key| self.slots.get_mut(&key)) {
            slot.blocked.insert(job.order(), seq);
        }
    }

    /// Notes that a job in line holds its key.
    pub(super) fn hold(&mut self, seq: u64) {
        if let Some(key) = self.jobs.get(seq).and_then(|job| key_of(&job.record)) {
            let slot = self.slots.entry(key).or_insert_with(|| Slot { holder: seq, blocked: BTreeMap::new() });
            debug_assert_eq!(slot.holder, seq, "two jobs of one key are in line");
        }
    }

    pub(super) fn leave_blocked(&mut self, seq: u64) {
        let Some(job) = self.jobs.get(seq) else { return };
        if let Some(slot) = key_of(&job.record).and_then(|key| self.slots.get_mut(&key)) {
            slot.blocked.remove(&job.order());
        }
    }

    /// After a job has left one state for another, or the store: the next of its key comes into line.
    pub(super) fn free(&mut self, key: Option<Key>, from: State, to: Option<State>, now: Timestamp) {
        let Some(key) = key.filter(|_| frees(from, to)) else { return };
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some((_, next)) = slot.blocked.pop_first() else {
            self.slots.remove(&key);
            return;
        };
        slot.holder = next;
        self.enter(next, State::Pending, Cause::Unblock, now);
        self.line_up(next, false, now);
    }

    /// For whom a blocked job waits.
    pub(super) fn holder(&self, record: &JobRecord) -> Option<JobId> {
        let slot = self.slots.get(&key_of(record).filter(|_| record.state == State::Blocked)?)?;
        Some(self.jobs.get(slot.holder)?.record.spec.id.clone())
    }
}
