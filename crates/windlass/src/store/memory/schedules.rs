//! Schedules: a text under a name, and the step that changes it and enqueues what follows.

use std::ops::Bound;

use super::*;

/// One schedule.
pub(super) struct Kept {
    revision: Revision,
    text: Arc<str>,
    history: VecDeque<ScheduleLine>,
    /// The number of the last line.
    lines: u64,
}

impl Kept {
    fn stored(&self, key: &ScheduleKey) -> StoredSchedule {
        StoredSchedule { key: key.clone(), revision: self.revision, text: self.text.clone() }
    }
}

impl Inner {
    fn change_schedule(&mut self, change: &ScheduleChange, now: Timestamp) -> ScheduleChanged {
        if self.schedules.get(&change.key).map(|kept| kept.revision) != change.from {
            return ScheduleChanged::Conflict;
        }
        self.enqueue(change.jobs.clone(), now);
        let Some(text) = change.to.clone() else {
            self.schedules.remove(&change.key);
            return ScheduleChanged::Done(None);
        };
        // Above all others, and seeded from the clock, so that a store that starts anew does not repeat one.
        self.revision = Revision((self.revision.0 + 1).max(u64::try_from(now.as_micros()).unwrap_or(0)));
        let new = || Kept { revision: Revision(0), text: "".into(), history: VecDeque::new(), lines: 0 };
        let kept = self.schedules.entry(change.key.clone()).or_insert_with(new);
        (kept.revision, kept.text) = (self.revision, text);
        for text in &change.history {
            kept.lines += 1;
            kept.history.push_back(ScheduleLine { number: kept.lines, text: text.clone() });
        }
        kept.history.drain(..kept.history.len().saturating_sub(HISTORY_KEPT));
        ScheduleChanged::Done(Some(self.revision))
    }
}

#[async_trait]
impl Schedules for MemoryStore {
    async fn change_schedule(&self, change: &ScheduleChange) -> Result<ScheduleChanged> {
        change.check()?;
        let changed = self.inner.lock().change_schedule(change, self.env.wall());
        if !change.jobs.is_empty() && changed != ScheduleChanged::Conflict {
            self.waker.wake();
        }
        Ok(changed)
    }

    async fn schedules(&self, after: Option<ScheduleKey>, limit: u32) -> Result<StoredSchedules> {
        let (inner, limit) = (self.inner.lock(), limit.min(1000) as usize);
        let past = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = inner.schedules.range((past, Bound::Unbounded)).map(|(key, kept)| kept.stored(key));
        let items: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().and_then(|_| items.last()).map(|last| last.key.clone());
        Ok(StoredSchedules { items, next, now: self.env.wall() })
    }

    async fn schedules_named(&self, name: &str) -> Result<StoredSchedules> {
        let inner = self.inner.lock();
        let named = inner.schedules.iter().filter(|(key, _)| &*key.name == name);
        let items = named.map(|(key, kept)| kept.stored(key)).collect();
        Ok(StoredSchedules { items, next: None, now: self.env.wall() })
    }

    async fn schedule_history(&self, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Result<Vec<ScheduleLine>> {
        let inner = self.inner.lock();
        let lines = inner.schedules.get(key).into_iter().flat_map(|kept| kept.history.iter().rev());
        let lines = lines.filter(|line| before.is_none_or(|before| line.number < before));
        Ok(lines.take(limit.min(1000) as usize).cloned().collect())
    }
}
