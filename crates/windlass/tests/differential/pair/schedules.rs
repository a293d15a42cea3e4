//! Schedules of random histories: few names in two queues, changes by those who have read the newest version, an older
//! one or none, jobs that come in with them, removals. Versions may have other values, but rise on both sides.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection::vec, option, prelude::*};
use windlass::store::{
    Backend, Revision, ScheduleChange, ScheduleChanged, ScheduleKey, ScheduleLine, StoreError, StoredSchedule,
    StoredSchedules,
};

use super::{Outcome, Pair, failed, pick, queue_name, same};
use crate::ops::{New, QUEUES, new};

const NAMES: [&str; 3] = ["hourly", "nightly", "nightly/2"];

#[derive(Clone, Debug)]
pub(crate) enum ScheduleOp {
    Change(Change),
    Named { name: usize },
    History { queue: usize, name: usize, limit: u32 },
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    queue: usize,
    name: usize,
    from: From,
    to: Option<u8>,
    jobs: Vec<New>,
    lines: u8,
}

/// What somebody has read who changes a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Newest,
    /// One of the versions that it ever had.
    Some(usize),
    Nothing,
}

pub(crate) fn schedule_op() -> impl Strategy<Value = ScheduleOp> {
    let (queue, name) = (0..QUEUES.len(), 0..NAMES.len());
    prop_oneof![
        8 => change().prop_map(ScheduleOp::Change),
        1 => name.clone().prop_map(|name| ScheduleOp::Named { name }),
        1 => (queue, name, 1..4u32).prop_map(|(queue, name, limit)| ScheduleOp::History { queue, name, limit }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let from = prop_oneof![6 => Just(From::Newest), 2 => any::<usize>().prop_map(From::Some), 1 => Just(From::Nothing)];
    let place = (0..QUEUES.len(), 0..NAMES.len());
    (place, from, option::weighted(0.85, any::<u8>()), vec(new(), 0..3), 0..4u8).prop_map(
        |((queue, name), from, to, mut jobs, lines)| {
            jobs.iter_mut().for_each(|job| job.queue = queue);
            Change { queue, name, from, to, jobs, lines }
        },
    )
}

/// What both sides have said.
#[derive(Default)]
pub(super) struct Versions {
    /// Every version that was ever given, as (model's, subject's), by schedule.
    all: BTreeMap<ScheduleKey, Vec<(Revision, Revision)>>,
    /// Those of the schedules that are there.
    newest: BTreeMap<ScheduleKey, (Revision, Revision)>,
}

fn key(queue: usize, name: usize) -> ScheduleKey {
    ScheduleKey::new(queue_name(queue), NAMES[name])
}

impl Pair {
    pub(super) async fn schedule(&mut self, op: &ScheduleOp) -> Outcome {
        match op {
            ScheduleOp::Change(change) => self.change_schedule(change).await?,
            ScheduleOp::Named { name } => {
                let (model, subject) = both!(self, |side| side.store.schedules_named(NAMES[*name]));
                same("the schedules of a name", &model, &self.schedules_in_models_words(subject))?;
            }
            ScheduleOp::History { queue, name, limit } => {
                let key = key(*queue, *name);
                let (model, subject) = both!(self, |side| past(&*side.store, &key, *limit));
                same("history", &texts(&model)?, &texts(&subject)?)?;
            }
        }
        let (model, subject) = both!(self, |side| listed(&*side.store));
        same("schedules", &model, &self.schedules_in_models_words(subject))
    }

    async fn change_schedule(&mut self, change: &Change) -> Outcome {
        let key = key(change.queue, change.name);
        let mut jobs = self.new_jobs(&change.jobs);
        // Whoever ticks does not know whether the job has come in before.
        jobs.iter_mut().for_each(|job| job.fresh = false);
        let (ours, theirs) = match change.from {
            From::Newest => self.versions.newest.get(&key).copied(),
            From::Some(at) => self.versions.all.get(&key).and_then(|all| pick(all, at)).copied(),
            From::Nothing => None,
        }
        .unzip();
        let lines = if change.to.is_some() { change.lines } else { 0 };
        let wanted = |from: Option<Revision>| ScheduleChange {
            key: key.clone(),
            from,
            to: change.to.map(|text| format!("text {text}").into()),
            jobs: jobs.clone(),
            history: (0..lines).map(|line| Arc::from(format!("line {line} of {:?}", change.to))).collect(),
        };
        let model = self.model.store.change_schedule(&wanted(ours)).await.map_err(failed)?;
        let subject = self.subject.store.change_schedule(&wanted(theirs)).await.map_err(failed)?;
        match (model, subject) {
            (ScheduleChanged::Done(Some(ours)), ScheduleChanged::Done(Some(theirs))) => {
                let all = self.versions.all.entry(key.clone()).or_default();
                if let Some((_, last)) = all.last().filter(|(_, last)| theirs <= *last) {
                    return Err(format!("{theirs:?} does not rise above {last:?}"));
                }
                all.push((ours, theirs));
                self.versions.newest.insert(key, (ours, theirs));
                Ok(())
            }
            (model, subject) => {
                if model == ScheduleChanged::Done(None) {
                    self.versions.newest.remove(&key);
                }
                same("a change", &model, &subject)
            }
        }
    }

    fn schedules_in_models_words(&self, mut found: StoredSchedules) -> StoredSchedules {
        let ours = |item: &StoredSchedule| {
            let newest = self.versions.newest.get(&item.key).filter(|(_, their)| *their == item.revision);
            newest.map_or(Revision(0), |(our, _)| *our)
        };
        found.items.iter_mut().for_each(|item| item.revision = ours(item));
        found
    }
}

/// The lines' texts; their numbers fall.
fn texts(lines: &[ScheduleLine]) -> Result<Vec<&str>, String> {
    match lines.is_sorted_by(|one, next| one.number > next.number) {
        true => Ok(lines.iter().map(|line| &*line.text).collect()),
        false => Err(format!("the numbers of the lines do not fall: {lines:?}")),
    }
}

/// The whole history, in pages.
async fn past(store: &dyn Backend, key: &ScheduleKey, limit: u32) -> Result<Vec<ScheduleLine>, StoreError> {
    let (mut lines, mut before) = (Vec::new(), None);
    loop {
        let page = store.schedule_history(key, before, limit).await?;
        before = page.last().map(|line| line.number);
        lines.extend(page);
        if before.is_none() {
            return Ok(lines);
        }
    }
}

/// All schedules, in pages.
async fn listed(store: &dyn Backend) -> Result<StoredSchedules, StoreError> {
    let mut all = StoredSchedules::default();
    loop {
        let page = store.schedules(all.next.take(), 2).await?;
        all.items.extend(page.items);
        (all.next, all.now) = (page.next, page.now);
        if all.next.is_none() {
            return Ok(all);
        }
    }
}
