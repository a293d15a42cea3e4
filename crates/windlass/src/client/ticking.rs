//! One schedule in a store: looked at, decided about, changed in one step. What servers do at each tick, and what comes
//! first when somebody edits it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tracing::debug;

use super::{Client, schedule::Declared};
use crate::{
    decide::{
        operate::Action,
        schedule::{
            ScheduleSpec,
            plan::{Agenda, Plan},
            record::{ScheduleNews, ScheduleOrigin, ScheduleRecord},
        },
    },
    error::Error,
    job::{JobId, Timestamp},
    store::{MAX_CHANGE_JOBS, Revision, ScheduleChange, ScheduleChanged, ScheduleKey, StoreError, StoredSchedule},
};

/// How much of its history a schedule takes along into another queue.
const HISTORY_MOVED: u32 = 200;
/// How often an edit begins anew when somebody else was faster.
const TRIES: u32 = 20;

/// A schedule as it was read, with its version.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) key: ScheduleKey,
    pub(crate) revision: Revision,
    pub(crate) record: ScheduleRecord,
}

impl Read {
    /// Reads what a store keeps.
    pub(crate) fn of(stored: &StoredSchedule) -> Result<Self, String> {
        let record = ScheduleRecord::read(&stored.text)?;
        Ok(Self { key: stored.key.clone(), revision: stored.revision, record })
    }

    /// It is on its way to another queue: there is one there by now, or whoever finds this one makes it.
    pub(crate) fn moves(&self) -> bool {
        self.key.queue != *self.record.queue()
    }
}

/// What a look at a schedule came to.
pub(crate) enum Ticked {
    /// Nothing is to be done until this tick, if there is one.
    Until(Option<Timestamp>),
    /// Something was done, or somebody else was faster: look again at once.
    Again,
    /// A tick or a cancellation waits for the end of a job.
    Waits(Option<Timestamp>),
}

impl Client {
    /// Decides about what is due of a schedule, makes it durable, and cancels what is to be cancelled.
    pub(crate) async fn tick(&self, read: &Read, now: Timestamp) -> Result<Ticked, Error> {
        let (record, rule) = (&read.record, rule_of(&read.record)?);
        // What it leaves out is counted when it is resumed or changed.
        if record.paused && !record.unended.iter().any(|job| job.cancel) {
            return Ok(Ticked::Until(None));
        }
        let agenda = Agenda::new(record, &rule, now, MAX_CHANGE_JOBS);
        if agenda.is_idle() {
            return Ok(Ticked::Until(agenda.next()));
        }
        let next = agenda.next();
        let ended = self.ended(&agenda.ask).await?;
        let plan = Plan::decide(record, agenda, &ended, now).map_err(|problem| broken(record, problem))?;
        if plan.record != *record && self.commit(&read.key, Some(read.revision), &plan).await?.is_none() {
            return Ok(Ticked::Again);
        }
        self.cancel_for(&plan).await?;
        Ok(match plan.more {
            true => Ticked::Again,
            false if plan.record.buffered.is_some() || plan.cancel().next().is_some() => Ticked::Waits(next),
            false => Ticked::Until(next),
        })
    }

    /// Those of the jobs that have ended or are gone.
    async fn ended(&self, ids: &[JobId]) -> Result<HashSet<JobId>, StoreError> {
        let mut ended = HashSet::new();
        for id in ids {
            if self.store().get(id).await?.is_none_or(|job| job.state.is_terminal()) {
                ended.insert(id.clone());
            }
        }
        Ok(ended)
    }

    async fn cancel_for(&self, plan: &Plan) -> Result<(), StoreError> {
        for id in plan.cancel() {
            // Whoever has been asked already is left to end.
            if self.store().get(id).await?.is_some_and(|job| job.cancel_requested.is_none()) {
                let reason = "a later tick of its schedule runs in its place".into();
                self.store().operate(id, &Action::Cancel { reason }).await?;
            }
        }
        Ok(())
    }

    /// Makes a plan durable. None: the schedule was changed meanwhile, and nothing has happened.
    pub(crate) async fn commit(
        &self,
        key: &ScheduleKey,
        from: Option<Revision>,
        plan: &Plan,
    ) -> Result<Option<Revision>, Error> {
        let write = |event| serde_json::to_string(event).map(Arc::from);
        let history = plan.events.iter().map(write).collect::<Result<_, _>>();
        let history = history.map_err(|error| broken(&plan.record, error.to_string()))?;
        let text = plan.record.write().map_err(|problem| broken(&plan.record, problem))?;
        let change = ScheduleChange { key: key.clone(), from, to: Some(text), jobs: plan.jobs.clone(), history };
        match self.store().change_schedule(&change).await? {
            ScheduleChanged::Done(Some(revision)) => Ok(Some(revision)),
            _ => Ok(None),
        }
    }

    /// Removes it, if it is still as it was read.
    pub(crate) async fn drop_schedule(&self, read: &Read) -> Result<bool, StoreError> {
        let (key, from) = (read.key.clone(), Some(read.revision));
        let change = ScheduleChange { key, from, to: None, jobs: Vec::new(), history: Vec::new() };
        Ok(self.store().change_schedule(&change).await? == ScheduleChanged::Done(None))
    }

    /// All that is due of it, as a plan that a change goes on with: its ticks up to now are those of the rule that holds.
    pub(crate) async fn settle(&self, read: &Read, now: Timestamp) -> Result<Plan, Error> {
        let record = &read.record;
        // A rule that cannot be read any more has no ticks, and an edit may be what repairs it.
        let Ok(rule) = record.rule() else { return Ok(Plan::of(record.clone(), now)) };
        let agenda = Agenda::new(record, &rule, now, MAX_CHANGE_JOBS - 1);
        let ended = self.ended(&agenda.ask).await?;
        Plan::decide(record, agenda, &ended, now).map_err(|problem| broken(record, problem))
    }

    /// The schedule of this name and the store's time.
    pub(crate) async fn read_schedule(&self, name: &str) -> Result<(Option<Read>, Timestamp), Error> {
        let found = self.store().schedules_named(name).await?;
        let mut read = Vec::new();
        for stored in &found.items {
            read.push(Read::of(stored).map_err(|problem| newer(name, &problem))?);
        }
        // Of two that programs declared at once in different queues the newer one counts.
        read.sort_by_key(|read| (read.moves(), std::cmp::Reverse(read.record.created_at)));
        let mut read = read.into_iter();
        let first = read.next();
        for other in read {
            self.drop_schedule(&other).await?;
        }
        Ok((first, found.now))
    }

    /// Takes away all but one of those that stand under one name; what cannot be done now is done at the next look.
    pub(crate) async fn resolve_schedule(&self, name: &str) {
        if let Err(error) = self.read_schedule(name).await {
            debug!(%error, schedule = name, "a schedule that stands in two queues could not be looked after");
        }
    }

    /// Changes a schedule that is there. `edit` is called again when somebody else was
    /// faster, and answers what the caller wants to know.
    pub(crate) async fn edit_schedule<A>(
        &self,
        name: &str,
        edit: impl Fn(&mut Plan, Timestamp) -> Result<A, String>,
    ) -> Result<A, Error> {
        for _ in 0..TRIES {
            let (found, now) = self.read_schedule(name).await?;
            let read = found.ok_or_else(|| Error::NoSchedule(name.into()))?;
            if read.moves() {
                self.finish_move(&read, now).await?;
                continue;
            }
            // What is paused starts nothing, and its ticks up to now are left out whatever it is from here on. Other
            // ticks are for the servers that may let it tick.
            let settled = read.record.paused;
            let mut plan = if settled { self.settle(&read, now).await? } else { Plan::of(read.record.clone(), now) };
            let answer = edit(&mut plan, now).map_err(|problem| broken(&read.record, problem))?;
            if self.commit(&read.key, Some(read.revision), &plan).await?.is_some() {
                return Ok(answer);
            }
            self.step_aside().await;
        }
        Err(busy(name))
    }

    /// Makes a declaration hold. What is declared already is left as it is, so that servers that start with the same
    /// program change nothing.
    pub(crate) async fn declare(&self, declared: &Declared) -> Result<ScheduleRecord, Error> {
        for _ in 0..TRIES {
            let (found, now) = self.read_schedule(&declared.name).await?;
            let done = match found {
                None => {
                    // Looked at again: somebody may have added one of this name to another queue meanwhile.
                    if self.add(declared, now).await? {
                        continue;
                    }
                    None
                }
                Some(read) if read.moves() => {
                    self.finish_move(&read, now).await?;
                    None
                }
                Some(read) => self.redeclare(&read, declared, now).await?,
            };
            match done {
                Some(record) => return Ok(record),
                None => self.step_aside().await,
            }
        }
        Err(busy(&declared.name))
    }

    /// Whether it is there now.
    async fn add(&self, declared: &Declared, now: Timestamp) -> Result<bool, Error> {
        let Declared { name, definition, origin } = declared;
        let mut plan = Plan::of(ScheduleRecord::new(name.clone(), definition.clone(), *origin, now), now);
        plan.note(ScheduleNews::Declared { origin: *origin });
        let key = ScheduleKey::new(plan.record.queue().clone(), name.clone());
        Ok(self.commit(&key, None, &plan).await?.is_some())
    }

    async fn redeclare(
        &self,
        read: &Read,
        declared: &Declared,
        now: Timestamp,
    ) -> Result<Option<ScheduleRecord>, Error> {
        let Declared { definition, origin, .. } = declared;
        if *origin == ScheduleOrigin::Stored && read.record.origin != ScheduleOrigin::Stored {
            let (name, origin) = (declared.name.clone(), read.record.origin);
            return Err(Error::ScheduleDeclared { name, origin });
        }
        if read.record.declared(definition, *origin, now).is_none() {
            return Ok(Some(read.record.clone()));
        }
        let mut plan = self.settle(read, now).await?;
        if plan.more {
            self.commit(&read.key, Some(read.revision), &plan).await?;
            return Ok(None);
        }
        if let Some(record) = plan.record.declared(definition, *origin, now) {
            plan.record = record;
            plan.note(ScheduleNews::Changed { origin: *origin });
        }
        let Some(_) = self.commit(&read.key, Some(read.revision), &plan).await? else { return Ok(None) };
        self.cancel_for(&plan).await?;
        // In another queue it is on its way now, and the next round sees it there.
        Ok((plan.record.queue() == &read.key.queue).then_some(plan.record))
    }

    /// Puts a schedule where its definition says, and takes it away from where it was. Whoever finds it goes on with this.
    pub(crate) async fn finish_move(&self, read: &Read, now: Timestamp) -> Result<(), Error> {
        let mut plan = Plan::of(read.record.clone(), now);
        let newest = self.store().schedule_history(&read.key, None, HISTORY_MOVED).await?;
        plan.events.extend(newest.iter().rev().filter_map(|line| serde_json::from_str(&line.text).ok()));
        let key = ScheduleKey::new(read.record.queue().clone(), read.record.name.clone());
        // If there is one already, somebody has come that far before.
        self.commit(&key, None, &plan).await?;
        self.drop_schedule(read).await?;
        Ok(())
    }

    /// Lets whoever was faster go on.
    async fn step_aside(&self) {
        self.env().sleep(self.env().jittered(Duration::from_millis(5))).await;
    }
}

fn rule_of(record: &ScheduleRecord) -> Result<ScheduleSpec, Error> {
    record.rule().map_err(|error| broken(record, error.to_string()))
}

fn broken(record: &ScheduleRecord, problem: String) -> Error {
    debug!(schedule = &*record.name, problem, "a schedule cannot be worked with");
    StoreError::Corrupt(format!("schedule `{}`: {problem}", record.name)).into()
}

fn newer(name: &str, problem: &str) -> Error {
    let advice = "a newer program has written it; use that one, or remove the schedule and add it again";
    StoreError::Corrupt(format!("schedule `{name}` cannot be read: {problem}; {advice}")).into()
}

fn busy(name: &str) -> Error {
    StoreError::Unavailable(format!("schedule `{name}` is changed all the time by others; try again")).into()
}
