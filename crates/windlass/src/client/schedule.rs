//! A schedule as a program declares it, and the checks that it passes before a store hears of it.

use std::{sync::Arc, time::Duration};

/// A job that is put off for longer would soon stand beside those of later days.
const MAX_JITTER: Duration = Duration::from_secs(24 * 3600);

use bytes::Bytes;

use super::{Client, Enqueue};
use crate::{
    decide::schedule::{
        Flavor, Fold, Gap, ScheduleSpec, SpecError,
        due::{CatchUp, DueRules, MAX_CATCH_UP},
        overlap::Overlap,
        record::{SCHEDULE_HEADER, ScheduleDefinition, ScheduleOrigin, TICK_HEADER},
        template::JobTemplate,
        tick::TickId,
    },
    error::Error,
    job::{InvalidJob, JobOptions, Kind, NewJob, Start, Timestamp, id::check_name},
};

/// A recurring job: a name, a rule that says at which instants it ticks, and the job that each tick enqueues. However many
/// servers declare it, each tick enqueues one job.
///
/// ```
/// use std::time::Duration;
/// use windlass::{CatchUp, Overlap, RawJob, Schedule};
/// let weekly = Schedule::cron("weekly", "0 0 9 * * MON")
///     .timezone("Asia/Jakarta")
///     .catch_up(CatchUp::One)
///     .overlap(Overlap::Skip)
///     .job(RawJob::new("report:weekly", "{}"));
/// let health = Schedule::every("health", Duration::from_secs(300)).job(RawJob::new("health:check", "{}"));
/// # let _ = (weekly, health);
/// ```
///
/// Give it to [`Server::schedule`](crate::Server::schedule), or to [`Client::add_schedule`] for one that outlives the
/// programs that know of it. Mistakes in it (a spec that cannot be read, an unknown zone) are errors there.
#[derive(Clone, Debug)]
#[must_use = "a schedule does nothing until it is given to a server or a client"]
pub struct Schedule {
    name: String,
    when: When,
    flavor: Flavor,
    timezone: Option<String>,
    gap: Gap,
    fold: Fold,
    catch_up: CatchUp,
    window: Option<Duration>,
    overlap: Overlap,
    jitter: Duration,
    starts: Option<Timestamp>,
    ends: Option<Timestamp>,
    job: Option<Result<(Kind, Bytes, JobOptions), InvalidJob>>,
    pub(crate) origin: ScheduleOrigin,
}

#[derive(Clone, Debug)]
enum When {
    Cron(String),
    Every(Duration),
}

impl Schedule {
    fn new(name: String, when: When) -> Self {
        Self {
            name,
            when,
            flavor: Flavor::default(),
            timezone: None,
            gap: Gap::default(),
            fold: Fold::default(),
            catch_up: CatchUp::default(),
            window: None,
            overlap: Overlap::default(),
            jitter: Duration::ZERO,
            starts: None,
            ends: None,
            job: None,
            origin: ScheduleOrigin::Code,
        }
    }

    /// Ticks by a cron spec of five or six fields, a word such as `@daily`, or `@every 90m`; see [`ScheduleSpec`].
    pub fn cron(name: impl Into<String>, spec: impl Into<String>) -> Self {
        Self::new(name.into(), When::Cron(spec.into()))
    }

    /// Ticks at equal distances, from the moment on at which a store first heard of it.
    pub fn every(name: impl Into<String>, interval: Duration) -> Self {
        Self::new(name.into(), When::Every(interval))
    }

    /// The job that each tick enqueues, with its options. Its handler learns of the tick by
    /// [`JobContext::scheduled_for`](crate::JobContext::scheduled_for). An id, a start time and a deadline are refused:
    /// each tick has its own.
    pub fn job(mut self, job: impl Enqueue) -> Self {
        self.job = Some(job.into_parts());
        self
    }

    /// The zone whose clock a cron spec goes by, by its IANA name; a zone that the spec names goes before it. Default: UTC.
    pub fn timezone(mut self, name: impl Into<String>) -> Self {
        self.timezone = Some(name.into());
        self
    }

    /// By whose rules a cron spec is read. Default: ours.
    pub fn flavor(mut self, flavor: Flavor) -> Self {
        self.flavor = flavor;
        self
    }

    /// What becomes of a fixed time that the clock leaves out. Default: it ticks when the gap ends.
    pub fn gap(mut self, gap: Gap) -> Self {
        self.gap = gap;
        self
    }

    /// What becomes of a fixed time that the clock shows twice. Default: it ticks the first time.
    pub fn fold(mut self, fold: Fold) -> Self {
        self.fold = fold;
        self
    }

    /// What becomes of ticks that passed while no server was there. Default: the newest of them runs.
    pub fn catch_up(mut self, policy: CatchUp) -> Self {
        self.catch_up = policy;
        self
    }

    /// Older ticks than this are never made up for. Default: a day.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// What becomes of a tick while the job of an earlier one has not ended. Default: they run beside each other.
    pub fn overlap(mut self, policy: Overlap) -> Self {
        self.overlap = policy;
        self
    }

    /// Puts each job off by up to this much, evenly spread over ticks and names and the same in every process. Default:
    /// none.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// There are no ticks before this moment. Default: from the declaration on.
    pub fn starts(mut self, at: impl Into<Timestamp>) -> Self {
        self.starts = Some(at.into());
        self
    }

    /// There are no ticks after this moment. Default: for ever.
    pub fn ends(mut self, at: impl Into<Timestamp>) -> Self {
        self.ends = Some(at.into());
        self
    }

    /// It stands in a configuration file and not in code, and is shown so.
    pub fn from_config(mut self) -> Self {
        self.origin = ScheduleOrigin::Config;
        self
    }

    /// The schedule with all defaults of the client filled in and everything checked.
    pub(crate) fn resolve(self, client: &Client) -> Result<Declared, Error> {
        let refuse = |problem: String| Error::Config(format!("schedule `{}`: {problem}", self.name));
        check_name("name", &self.name).map_err(|error| refuse(error.to_string()))?;
        let spec = self.spec().map_err(|error| refuse(error.to_string()))?;
        let job = self.template(client).map_err(refuse)?;
        self.check_policies().map_err(refuse)?;
        let name: Arc<str> = self.name.as_str().into();
        // As long as its ids will ever be.
        TickId::new(name.clone(), u64::MAX, Timestamp::default()).job_id().map_err(|_| {
            refuse("its name is too long: the ids of its jobs begin with it and have at most 255 bytes".into())
        })?;
        let definition = ScheduleDefinition {
            timezone: self.timezone.map(Into::into),
            gap: self.gap,
            fold: self.fold,
            catch_up: self.catch_up,
            window: self.window.unwrap_or(DueRules::default().window),
            overlap: self.overlap,
            jitter: self.jitter,
            starts: self.starts,
            ends: self.ends,
            ..ScheduleDefinition::new(&spec, job)
        };
        Ok(Declared { name, definition, origin: self.origin })
    }

    fn spec(&self) -> Result<ScheduleSpec, SpecError> {
        let spec = match &self.when {
            When::Cron(text) => ScheduleSpec::parse_as(text, self.flavor)?,
            When::Every(interval) => ScheduleSpec::every(*interval)?,
        };
        match &self.timezone {
            Some(zone) => spec.timezone(zone),
            None => Ok(spec),
        }
    }

    fn template(&self, client: &Client) -> Result<JobTemplate, String> {
        let parts = self.job.clone().ok_or("it has no job; say with Schedule::job what a tick enqueues")?;
        let (kind, payload, options) = parts.map_err(|error| error.to_string())?;
        if options.id.is_some() {
            return Err("its job has an id; leave it out, each tick's job has its own".into());
        }
        let parts = Parts(kind, payload, options.header(SCHEDULE_HEADER, "").header(TICK_HEADER, ""));
        let NewJob { spec, start, .. } = client.resolve(parts).map_err(|error| error.to_string())?;
        if spec.deadline.is_some() || start != Start::Now {
            return Err("its job has a deadline or a start time; leave them out, the tick is when it starts".into());
        }
        let mut template = JobTemplate::of(&spec);
        template.headers.retain(|name, _| name != SCHEDULE_HEADER && name != TICK_HEADER);
        Ok(template)
    }

    fn check_policies(&self) -> Result<(), String> {
        match (self.catch_up, self.starts, self.ends) {
            (CatchUp::All(most), ..) if !(1..=MAX_CATCH_UP).contains(&most) => {
                Err(format!("catch_up of {most} ticks; it may be 1 to {MAX_CATCH_UP}, or skip"))
            }
            (_, Some(starts), Some(ends)) if starts > ends => {
                Err(format!("it ends ({ends}) before it starts ({starts})"))
            }
            _ if self.flavor == Flavor::Asynq && (self.gap, self.fold) != <(Gap, Fold)>::default() => {
                Err("Asynq's flavor has rules of its own where a clock changes; leave gap and fold out".into())
            }
            _ if self.jitter > MAX_JITTER => Err(format!("a jitter of {:?}; it is at most a day", self.jitter)),
            _ if self.window.is_some_and(|window| window.is_zero()) => {
                Err("a window of 0; leave it out, or say catch_up skip to make up for nothing".into())
            }
            _ => Ok(()),
        }
    }
}

/// What a job is made of, as it was.
struct Parts(Kind, Bytes, JobOptions);

impl Enqueue for Parts {
    fn into_parts(self) -> Result<(Kind, Bytes, JobOptions), InvalidJob> {
        Ok((self.0, self.1, self.2))
    }
}

/// A schedule that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) name: Arc<str>,
    pub(crate) definition: ScheduleDefinition,
    pub(crate) origin: ScheduleOrigin,
}
