//! Which ticks of a schedule are to run now, and which were missed and why. The schedule's mark is the newest tick that
//! was decided about; who decides moves it in the same step as it enqueues, so that each tick is decided about once.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::ScheduleSpec;
use crate::job::Timestamp;

/// How many ticks are counted in one go. Of more it is only known that there were so many at least.
const COUNTED: u64 = 10_000;
/// The largest number of missed ticks that are made up for at once.
pub const MAX_CATCH_UP: u32 = 1000;

/// What becomes of ticks that passed while nobody looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CatchUp {
    /// They are left out.
    Skip,
    /// The newest of them runs, unless one is on time anyway.
    #[default]
    One,
    /// The newest of them run, up to this many (at most [`MAX_CATCH_UP`]).
    All(u32),
}

/// How a schedule treats its ticks.
///
/// ```
/// use windlass::{CatchUp, DueRules};
/// let mut rules = DueRules::default();
/// rules.catch_up = CatchUp::All(10);
/// assert_eq!(rules.grace.as_secs(), 10);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DueRules {
    /// What becomes of ticks that passed while nobody looked.
    pub catch_up: CatchUp,
    /// Older ticks than this are never made up for. By itself a day.
    pub window: Duration,
    /// A tick that is no later than this is on time, and runs whatever [`catch_up`](Self::catch_up) says. By itself ten
    /// seconds.
    pub grace: Duration,
    /// There are no ticks before this.
    pub starts: Option<Timestamp>,
    /// There are no ticks after this.
    pub ends: Option<Timestamp>,
    /// Ticks are left out, and counted.
    pub paused: bool,
}

impl Default for DueRules {
    fn default() -> Self {
        Self {
            catch_up: CatchUp::default(),
            window: Duration::from_secs(86_400),
            grace: Duration::from_secs(10),
            starts: None,
            ends: None,
            paused: false,
        }
    }
}

/// Why a tick was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissReason {
    /// Nobody looked when it was due, and the schedule makes up for nothing.
    Late,
    /// Nobody looked when it was due, and a newer one runs in its place.
    Superseded,
    /// Nobody looked when it was due, and more were missed than are made up for.
    OverLimit,
    /// It was too old when somebody looked.
    OutOfWindow,
    /// The schedule was paused.
    Paused,
    /// The job of an earlier tick had not ended.
    Overlap,
}

/// How many ticks were missed for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// Why.
    pub reason: MissReason,
    /// How many.
    pub count: u64,
    /// There were so many; otherwise so many at least.
    pub exact: bool,
}

/// What is to be done about a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Due {
    /// The ticks that are to run, the oldest first.
    pub run: Vec<Timestamp>,
    /// The ticks that are left out.
    pub missed: Vec<Missed>,
    /// The newest tick that this decides about: the schedule's next mark.
    pub mark: Timestamp,
    /// The tick to wait for.
    pub next: Option<Timestamp>,
}

/// Decides about the ticks after `mark`, up to `now`.
///
/// It follows from the mark and not from the last look, so a clock that was set back repeats nothing: until it is past
/// the mark again, nothing is due. The work is bounded, however long nobody looked.
///
/// ```
/// use windlass::{CatchUp, DueRules, ScheduleSpec, Timestamp, decide::schedule::due::due};
/// let hourly = ScheduleSpec::parse("@hourly").unwrap();
/// let at = |text: &str| text.parse::<Timestamp>().unwrap();
/// let mut rules = DueRules::default();
/// rules.catch_up = CatchUp::All(2);
/// let due = due(&hourly, &rules, at("2026-03-01T09:00:00Z"), at("2026-03-01T13:30:00Z"));
/// assert_eq!(due.run, [at("2026-03-01T12:00:00Z"), at("2026-03-01T13:00:00Z")]);
/// assert_eq!((due.missed[0].count, due.next), (2, Some(at("2026-03-01T14:00:00Z"))));
/// ```
pub fn due(spec: &ScheduleSpec, rules: &DueRules, mark: Timestamp, now: Timestamp) -> Due {
    let (spec, began) = (&rules.counted(spec, mark), rules.began(mark));
    let until = rules.ends.map_or(now, |ends| now.min(ends));
    let mut due = Due { run: Vec::new(), missed: Vec::new(), mark, next: None };
    if rules.paused {
        let all = newest(spec, began, until, 1);
        due.miss(MissReason::Paused, all.count, all.exact);
        due.end_with(&all);
    } else {
        let late_from = now.before(rules.window.max(rules.grace)).max(began).min(until);
        let late_until = now.before(rules.grace).before(MICRO).max(late_from).min(until);
        let old = newest(spec, began, late_from, 1);
        let late = newest(spec, late_from, late_until, MAX_CATCH_UP as usize);
        let on_time = newest(spec, late_until, until, MAX_CATCH_UP as usize);
        due.miss(MissReason::OutOfWindow, old.count, old.exact);
        due.catch_up(rules.catch_up, &late, on_time.count > 0);
        due.miss(MissReason::OverLimit, on_time.count - on_time.ticks.len() as u64, on_time.exact);
        due.run.extend(&on_time.ticks);
        for part in [old, late, on_time] {
            due.end_with(&part);
        }
    }
    due.next = rules.next(spec, due.mark.max(began));
    due
}

/// The first tick after `now` that `mark` leaves to come.
pub(crate) fn next_after(spec: &ScheduleSpec, rules: &DueRules, mark: Timestamp, now: Timestamp) -> Option<Timestamp> {
    rules.next(&rules.counted(spec, mark), now.max(rules.began(mark)))
}

impl DueRules {
    /// After which instant ticks count.
    fn began(&self, mark: Timestamp) -> Timestamp {
        self.starts.map_or(mark, |starts| mark.max(starts.before(MICRO)))
    }

    fn counted(&self, spec: &ScheduleSpec, mark: Timestamp) -> ScheduleSpec {
        spec.counted_from(self.starts.map_or(mark, |starts| mark.max(starts)))
    }

    fn next(&self, spec: &ScheduleSpec, after: Timestamp) -> Option<Timestamp> {
        spec.next(after).filter(|next| self.ends.is_none_or(|ends| *next <= ends))
    }
}

const MICRO: Duration = Duration::from_micros(1);

impl Due {
    fn catch_up(&mut self, policy: CatchUp, late: &Newest, on_time: bool) {
        let (made_up, reason) = match policy {
            CatchUp::Skip => (0, MissReason::Late),
            CatchUp::One => (usize::from(!on_time), MissReason::Superseded),
            CatchUp::All(most) => (most.min(MAX_CATCH_UP) as usize, MissReason::OverLimit),
        };
        let run = &late.ticks[late.ticks.len().saturating_sub(made_up)..];
        self.run.extend(run);
        self.miss(reason, late.count - run.len() as u64, late.exact);
    }

    fn miss(&mut self, reason: MissReason, count: u64, exact: bool) {
        if count > 0 {
            self.missed.push(Missed { reason, count, exact });
        }
    }

    fn end_with(&mut self, part: &Newest) {
        self.mark = part.ticks.last().copied().unwrap_or(self.mark).max(self.mark);
    }
}

/// The newest ticks of a span, and how many there are.
#[derive(Default)]
struct Newest {
    /// The newest, in order.
    ticks: Vec<Timestamp>,
    count: u64,
    exact: bool,
}

/// The newest `most` ticks after `from`, up to `until`. A span with too many ticks to walk over is searched for a later
/// beginning, from which there are enough and not too many.
fn newest(spec: &ScheduleSpec, from: Timestamp, until: Timestamp, most: usize) -> Newest {
    let count = match walk(spec, from, until, most) {
        Ok(found) => return found,
        Err(counted) => counted,
    };
    let mut found = Newest { ticks: Vec::new(), count, exact: false };
    // From `crowded` there are too many, from `sparse` too few.
    let (mut crowded, mut sparse) = (from.as_micros(), until.as_micros());
    while sparse - crowded > 1 {
        let middle = crowded + (sparse - crowded) / 2;
        match walk(spec, Timestamp::from_micros(middle), until, most) {
            Err(_) => crowded = middle,
            Ok(part) => {
                let enough = part.ticks.len() == most;
                found.ticks = part.ticks;
                if enough {
                    break;
                }
                sparse = middle;
            }
        }
    }
    found
}

/// The newest ticks of a span, or how many were counted when it was given up.
fn walk(spec: &ScheduleSpec, from: Timestamp, until: Timestamp, most: usize) -> Result<Newest, u64> {
    let (mut ticks, mut count) = (VecDeque::with_capacity(most.min(16)), 0);
    for tick in spec.ticks_after(from).take_while(|tick| *tick <= until) {
        if count == COUNTED {
            return Err(count);
        }
        count += 1;
        if ticks.len() == most {
            ticks.pop_front();
        }
        ticks.push_back(tick);
    }
    Ok(Newest { ticks: ticks.into(), count, exact: true })
}
