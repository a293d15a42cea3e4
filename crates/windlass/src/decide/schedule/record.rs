//! A schedule as a store keeps it: what was declared ([`ScheduleDefinition`]), how far its ticks have been decided about,
//! and what became of them. As JSON it is what every process of a fleet reads, older and newer ones: what a program does
//! not know it leaves in place.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Flavor, Fold, Gap, ScheduleSpec, SpecError,
    due::{CatchUp, DueRules, MissReason, next_after},
    overlap::Overlap,
    template::JobTemplate,
    tick::TickId,
    tz_version,
};
use crate::job::{JobId, NewJob, QueueName, Start, Timestamp};

/// The version of the form that this program writes. A record of a higher one is not for it.
const VERSION: u32 = 1;

/// The header of a job that names the schedule which enqueued it.
pub const SCHEDULE_HEADER: &str = "windlass-schedule";
/// The header of a job with the instant of the tick that enqueued it.
pub const TICK_HEADER: &str = "windlass-scheduled-for";

/// Where a schedule comes from, and so who lets it tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleOrigin {
    /// Programs declare it ([`Server::schedule`](crate::Server::schedule)). It ticks while a live server does.
    Code,
    /// Configuration files declare it. It ticks while a live server does.
    Config,
    /// It was added ([`Client::add_schedule`](crate::Client::add_schedule)). Any live server lets it tick.
    Stored,
}

/// What somebody declares of a schedule: when it ticks, what a tick enqueues, and what becomes of ticks that are late or
/// meet a job of an earlier one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the methods of Schedule document each of them")]
pub struct ScheduleDefinition {
    pub spec: Arc<str>,
    #[serde(default)]
    pub flavor: Flavor,
    #[serde(default)]
    pub timezone: Option<Arc<str>>,
    #[serde(default)]
    pub gap: Gap,
    #[serde(default)]
    pub fold: Fold,
    pub job: JobTemplate,
    #[serde(default)]
    pub catch_up: CatchUp,
    #[serde(rename = "window_ms", with = "super::template::millis")]
    pub window: Duration,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default, rename = "jitter_ms", with = "super::template::millis")]
    pub jitter: Duration,
    #[serde(default)]
    pub starts: Option<Timestamp>,
    #[serde(default)]
    pub ends: Option<Timestamp>,
    /// What a newer program has said beside.
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

impl ScheduleDefinition {
    pub(crate) fn new(spec: &ScheduleSpec, job: JobTemplate) -> Self {
        Self {
            spec: spec.to_string().into(),
            flavor: spec.flavor(),
            timezone: None,
            gap: Gap::default(),
            fold: Fold::default(),
            job,
            catch_up: CatchUp::default(),
            window: DueRules::default().window,
            overlap: Overlap::default(),
            jitter: Duration::ZERO,
            starts: None,
            ends: None,
            other: Map::new(),
        }
    }

    /// The rule by which it ticks; `@every` counts from `epoch`.
    ///
    /// # Errors
    /// When the spec or the zone cannot be read: a program with another database of zones has written it.
    pub fn rule(&self, epoch: Timestamp) -> Result<ScheduleSpec, SpecError> {
        let mut spec = ScheduleSpec::parse_as(&self.spec, self.flavor)?;
        if let Some(zone) = &self.timezone {
            spec = spec.timezone(zone)?;
        }
        Ok(spec.gap(self.gap).fold(self.fold).epoch(epoch))
    }

    /// Whether it ticks at the same instants as another one, however else they differ.
    fn ticks_like(&self, other: &Self) -> bool {
        let rule = |of: &Self| (of.spec.clone(), of.flavor, of.timezone.clone(), of.gap, of.fold);
        rule(self) == rule(other)
    }
}

/// A job of a schedule that had not ended when it was last looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnendedJob {
    /// The job.
    pub id: JobId,
    /// A later tick runs in its place, and it is to be cancelled.
    #[serde(default)]
    pub cancel: bool,
}

/// A schedule as a store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleRecord {
    pub(super) version: u32,
    /// Its name, which is in the ids of its jobs.
    pub name: Arc<str>,
    /// What was declared last.
    pub definition: ScheduleDefinition,
    /// Where it comes from.
    pub origin: ScheduleOrigin,
    /// How often the rule by which it ticks was changed; in the ids of its jobs, too.
    pub generation: u64,
    /// From where `@every` counts: when it was first declared.
    pub epoch: Timestamp,
    /// The newest tick that was decided about, or when it was declared: only what is later ticks.
    pub mark: Timestamp,
    /// Whether its ticks are left out.
    #[serde(default)]
    pub paused: bool,
    /// The newest tick that enqueued a job.
    #[serde(default)]
    pub last: Option<Timestamp>,
    /// How many jobs it has enqueued.
    #[serde(default)]
    pub enqueued: u64,
    /// How many ticks were left out, by reason.
    #[serde(default)]
    pub missed: BTreeMap<MissReason, u64>,
    /// Its jobs that may not have ended, if its policy of overlaps asks for that.
    #[serde(default)]
    pub unended: Vec<UnendedJob>,
    /// The tick that waits until they have.
    #[serde(default)]
    pub buffered: Option<Timestamp>,
    /// When it was first declared.
    pub created_at: Timestamp,
    /// When what is declared, or whether it is paused, last changed.
    pub updated_at: Timestamp,
    /// The database of time zones of the program that last changed it.
    pub tz_version: Arc<str>,
    /// What a newer program has noted beside.
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

impl ScheduleRecord {
    /// A schedule that was never there before. There are no ticks before `now`.
    pub(crate) fn new(name: Arc<str>, definition: ScheduleDefinition, origin: ScheduleOrigin, now: Timestamp) -> Self {
        Self {
            version: VERSION,
            name,
            definition,
            origin,
            generation: 1,
            epoch: now,
            mark: now,
            paused: false,
            last: None,
            enqueued: 0,
            missed: BTreeMap::new(),
            unended: Vec::new(),
            buffered: None,
            created_at: now,
            updated_at: now,
            tz_version: tz_version().into(),
            other: Map::new(),
        }
    }

    /// Reads what a store keeps.
    ///
    /// # Errors
    /// When a newer program has written it in a form that this one does not know.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let record: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if record.version > VERSION {
            return Err(format!("it is of version {}, and this program knows {VERSION}", record.version));
        }
        Ok(record)
    }

    /// As a store keeps it.
    pub(crate) fn write(&self) -> Result<Arc<str>, String> {
        serde_json::to_string(self).map(Into::into).map_err(|error| error.to_string())
    }

    /// The queue in which it belongs: that of its jobs.
    pub fn queue(&self) -> &QueueName {
        &self.definition.job.queue
    }

    /// The rule by which it ticks.
    ///
    /// # Errors
    /// As [`ScheduleDefinition::rule`].
    pub fn rule(&self) -> Result<ScheduleSpec, SpecError> {
        self.definition.rule(self.epoch)
    }

    pub(crate) fn rules(&self) -> DueRules {
        let ScheduleDefinition { catch_up, window, starts, ends, .. } = self.definition;
        DueRules { catch_up, window, starts, ends, paused: self.paused, ..DueRules::default() }
    }

    /// The tick to wait for; none while it is paused, when there is none any more, or by a rule that cannot be read.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let rule = self.rule().ok().filter(|_| !self.paused)?;
        next_after(&rule, &self.rules(), self.mark, now)
    }

    /// The ticks after `after` that are still to come, whether it is paused or not; none by a rule that cannot be read.
    pub fn ticks_after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        let (rule, rules, mark) = (self.rule().ok(), self.rules(), self.mark);
        let next = move |after| next_after(rule.as_ref()?, &rules, mark, after);
        std::iter::successors(next(after), move |tick| next(*tick))
    }

    /// Whether nobody lets it tick, although servers live: `declared` are the names of what they declare.
    pub(crate) fn is_orphaned(&self, declared: &HashSet<String>) -> bool {
        self.origin != ScheduleOrigin::Stored && !declared.contains(&*self.name)
    }

    /// The job of a tick. With jitter it waits a little longer, as every process would have it wait.
    pub(crate) fn job(&self, tick: Timestamp) -> Result<NewJob, String> {
        let named = TickId::new(self.name.clone(), self.generation, tick);
        let id = named.job_id().map_err(|error| error.to_string())?;
        let mut spec = self.definition.job.spec(id)?;
        spec.headers.insert(SCHEDULE_HEADER.into(), self.name.to_string());
        spec.headers.insert(TICK_HEADER.into(), tick.to_string());
        let jitter = named.jitter(self.definition.jitter);
        let start = if jitter.is_zero() { Start::Now } else { Start::At(tick.after(jitter)) };
        // Who sends it again does not know whether it has come in, or even ended.
        Ok(NewJob { spec: Arc::new(spec), start, fresh: false })
    }

    /// The schedule with another definition; none when that changes nothing. A tick by another rule has another
    /// generation, and there are none before `now`.
    pub(crate) fn declared(
        &self,
        definition: &ScheduleDefinition,
        origin: ScheduleOrigin,
        now: Timestamp,
    ) -> Option<Self> {
        if self.definition == *definition && self.origin == origin {
            return None;
        }
        let mut record = Self { origin, updated_at: now, tz_version: tz_version().into(), ..self.clone() };
        if !self.definition.ticks_like(definition) {
            record.generation += 1;
            record.mark = record.mark.max(now);
        }
        record.definition = definition.clone();
        Some(record)
    }
}

/// Something that happened to a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleEvent {
    /// When, by the store's clock.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: ScheduleNews,
}

/// What happened to a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleNews {
    /// It was declared or added.
    Declared {
        /// By whom.
        origin: ScheduleOrigin,
    },
    /// It was declared otherwise than before.
    Changed {
        /// By whom.
        origin: ScheduleOrigin,
    },
    /// It was paused.
    Paused,
    /// It was resumed.
    Resumed,
    /// A tick enqueued a job.
    Started {
        /// The tick.
        tick: Timestamp,
        /// The job.
        job: JobId,
    },
    /// A tick waits until what runs of the schedule has ended.
    Buffered {
        /// The tick.
        tick: Timestamp,
    },
    /// Ticks were left out.
    Missed {
        /// Why.
        reason: MissReason,
        /// How many.
        count: u64,
        /// There were so many; otherwise so many at least.
        exact: bool,
    },
    /// Somebody had it enqueue a job beside its ticks.
    RunNow {
        /// The job.
        job: JobId,
    },
    /// What a newer program has noted.
    #[serde(other)]
    Unknown,
}
