//! What a look at a schedule comes to: which jobs to enqueue, what to note, what to cancel. A function of the record, the
//! moment and of which of its jobs have ended; whoever looks makes it durable in one step, or looks anew.

use std::{collections::HashSet, sync::Arc};

use super::{
    ScheduleSpec,
    due::{Due, MissReason, Missed, due},
    overlap::{Overlap, Start, Unended, overlaps},
    record::{ScheduleEvent, ScheduleNews, ScheduleRecord, UnendedJob},
};
use crate::job::{JobId, NewJob, Timestamp};

/// The most payload that one step enqueues, in bytes; a single larger job comes alone.
const STEP_BYTES: usize = 16 * 1024 * 1024;
/// The most jobs of a schedule whose end is waited for. Those beyond are left to run beside the others.
const MAX_UNENDED: usize = 100;

/// What is to be decided about a schedule now.
pub(crate) struct Agenda {
    due: Due,
    /// The jobs of which it must be known whether they have ended.
    pub(crate) ask: Vec<JobId>,
    /// The most ticks that start in this step.
    most: usize,
    idle: bool,
}

impl Agenda {
    /// Looks at a schedule. `most`: how many jobs a step may enqueue.
    pub(crate) fn new(record: &ScheduleRecord, rule: &ScheduleSpec, now: Timestamp, most: usize) -> Self {
        let due = due(rule, &record.rules(), record.mark, now);
        let waits = record.buffered.is_some() && !record.paused;
        let starts = !due.run.is_empty() || waits;
        let unended = record.unended.iter().filter(|job| starts || job.cancel);
        let ask: Vec<_> = unended.map(|job| job.id.clone()).collect();
        let of_bytes = STEP_BYTES / record.definition.job.payload.len().max(1);
        let idle = due.mark == record.mark && !waits && ask.is_empty();
        Self { due, ask, most: most.min(of_bytes).max(1), idle }
    }

    /// Nothing is to be decided.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// The tick to wait for.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.next
    }
}

/// What a look came to.
pub(crate) struct Plan {
    /// The schedule from now on.
    pub(crate) record: ScheduleRecord,
    /// Jobs that come in with it.
    pub(crate) jobs: Vec<NewJob>,
    /// What is to be noted, oldest first.
    pub(crate) events: Vec<ScheduleEvent>,
    /// There was more than one step may do: look again at once.
    pub(crate) more: bool,
    now: Timestamp,
}

impl Plan {
    /// A plan that changes nothing yet.
    pub(crate) fn of(record: ScheduleRecord, now: Timestamp) -> Self {
        Self { record, jobs: Vec::new(), events: Vec::new(), more: false, now }
    }

    /// Decides what is on the agenda. `ended`: those of the jobs asked for that have ended or are gone.
    pub(crate) fn decide(
        record: &ScheduleRecord,
        agenda: Agenda,
        ended: &HashSet<JobId>,
        now: Timestamp,
    ) -> Result<Self, String> {
        let mut plan = Self::of(record.clone(), now);
        plan.record.unended.retain(|job| !ended.contains(&job.id));
        if plan.record.unended.is_empty()
            && !record.paused
            && let Some(tick) = plan.record.buffered.take()
        {
            plan.start(tick)?;
        }
        let Due { mut run, missed, mark, .. } = agenda.due;
        let room = agenda.most - plan.jobs.len();
        plan.more = run.len() > room;
        run.truncate(room);
        plan.record.mark = match run.last() {
            // Those after it are due as well, and are decided about from this mark on.
            Some(last) if plan.more => *last,
            None if plan.more => return Ok(plan),
            _ => mark,
        };
        missed.into_iter().for_each(|missed| plan.miss(missed));
        plan.run(&run)?;
        Ok(plan)
    }

    /// Starts ticks that are due at once, as far as the policy of overlaps lets them.
    fn run(&mut self, ticks: &[Timestamp]) -> Result<(), String> {
        let record = &self.record;
        let unended = Unended { running: record.unended.len() as u64, buffered: record.buffered.is_some() };
        let decided = overlaps(record.definition.overlap, unended, ticks);
        // What would be cancelled in the same step is not even begun.
        let last = decided.iter().rposition(|(_, start)| *start == Start::InPlace);
        let mut left_out = 0;
        for (place, (tick, start)) in decided.into_iter().enumerate() {
            match start {
                _ if last.is_some_and(|last| place < last) => left_out += 1,
                Start::Now => self.start(tick)?,
                Start::InPlace => {
                    self.record.unended.iter_mut().for_each(|job| job.cancel = true);
                    self.start(tick)?;
                }
                Start::Buffered => {
                    self.record.buffered = Some(tick);
                    self.note(ScheduleNews::Buffered { tick });
                }
                Start::Missed => left_out += 1,
            }
        }
        if left_out > 0 {
            self.miss(Missed { reason: MissReason::Overlap, count: left_out, exact: true });
        }
        Ok(())
    }

    fn start(&mut self, tick: Timestamp) -> Result<(), String> {
        let job = self.record.job(tick)?;
        let id = job.spec.id.clone();
        self.enqueue(job);
        self.record.last = self.record.last.max(Some(tick));
        self.note(ScheduleNews::Started { tick, job: id });
        Ok(())
    }

    /// A job under this id beside the ticks.
    pub(crate) fn run_now(&mut self, id: JobId, now: Timestamp) -> Result<(), String> {
        let mut job = self.record.job(now)?;
        Arc::make_mut(&mut job.spec).id = id.clone();
        job.start = crate::job::Start::Now;
        // No tick waits for it, or takes its place.
        self.record.enqueued += 1;
        self.jobs.push(job);
        self.note(ScheduleNews::RunNow { job: id });
        Ok(())
    }

    fn enqueue(&mut self, job: NewJob) {
        self.record.enqueued += 1;
        let unended = &mut self.record.unended;
        if self.record.definition.overlap == Overlap::Allow {
            unended.clear();
        } else {
            unended.push(UnendedJob { id: job.spec.id.clone(), cancel: false });
            unended.drain(..unended.len().saturating_sub(MAX_UNENDED));
        }
        self.jobs.push(job);
    }

    fn miss(&mut self, missed: Missed) {
        let Missed { reason, count, exact } = missed;
        *self.record.missed.entry(reason).or_default() += count;
        self.note(ScheduleNews::Missed { reason, count, exact });
    }

    /// Adds to the history.
    pub(crate) fn note(&mut self, what: ScheduleNews) {
        self.events.push(ScheduleEvent { at: self.now, what });
    }

    /// The jobs that are to be cancelled once it is durable.
    pub(crate) fn cancel(&self) -> impl Iterator<Item = &JobId> {
        self.record.unended.iter().filter(|job| job.cancel).map(|job| &job.id)
    }
}
