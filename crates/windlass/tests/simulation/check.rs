//! The checker: a model of every job, fed with the history in the order in which the store applied it. The first
//! event that the promises do not allow is the violation.

use std::{collections::BTreeMap, time::Duration};

use windlass::{
    Action, Fence, JobId, JobState, Lease, ServerId, Verdict,
    store::{Finished, Flushed, Operated, Reported},
};

use crate::{
    disturbed::Disturbances,
    history::{Came, Event, Given},
    plan::{KEPT, LEASE, Weather},
    rules::{Rule, Violation},
    run::Ran,
};

/// Where the model has a job.
#[derive(Clone, Debug, PartialEq)]
enum At {
    Waiting,
    Running(Hold),
    Ended(JobState),
    Gone,
}

/// A run as the store knows it.
#[derive(Clone, Debug, PartialEq)]
struct Hold {
    fence: Fence,
    server: ServerId,
    sequence: u64,
    renewed: Duration,
    until: Duration,
    wished: Option<Duration>,
}

struct Job {
    came: Came,
    at: At,
    acknowledged: bool,
    newest: Fence,
    failures: u32,
    crashes: u32,
    /// The last step whose checkpoint was acknowledged.
    noted: u32,
    /// The job that it became a part of.
    into: Option<JobId>,
}

type Checked = Result<(), (Rule, String)>;

fn hold(holds: bool, rule: Rule, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err((rule, what())) }
}

/// The model of a run.
struct Model<'r> {
    ran: &'r Ran,
    bad: Disturbances,
    jobs: BTreeMap<JobId, Job>,
    enqueued: u64,
    now: Duration,
    /// When the model last looked for what is left with the dead.
    looked: Duration,
    /// By how much the clock was stepped forward, all in all.
    stepped: Duration,
}

/// How long a server may stand still without losing a lease: a third of the lease until the renewal was due, and
/// some tries.
const SHORT_PAUSE: Duration = Duration::from_millis(3500);
/// How soon a killed process's jobs are back.
const RECOVERY: Duration = Duration::from_secs(15);
/// How soon a running job that was cancelled has stopped: the look at the log, the grace, the report.
const CANCEL_TAKES: Duration = Duration::from_secs(10);

/// The first violation, if there is one.
pub(crate) fn check(ran: &Ran) -> Option<Violation> {
    let bad = Disturbances::of(&ran.events);
    let mut model = Model {
        ran,
        bad,
        jobs: BTreeMap::new(),
        enqueued: 0,
        now: Duration::ZERO,
        looked: Duration::ZERO,
        stepped: Duration::ZERO,
    };
    for (at, event) in &ran.events {
        model.now = *at;
        let applied = model.recovered().and_then(|()| model.apply(event));
        if let Err((id, (rule, what))) = applied {
            return Some(Violation { rule, at: *at, job: id, what });
        }
    }
    let settled = hold(ran.settled, Rule::EverythingSettles, || format!("not settled: {:?}", model.unsettled()));
    let ended = settled.map_err(|broken| (None, broken)).and_then(|()| model.at_the_end());
    ended.err().map(|(job, (rule, what))| Violation { rule, at: model.now, job, what })
}

type Applied = Result<(), (Option<JobId>, (Rule, String))>;

impl Model<'_> {
    fn apply(&mut self, event: &Event) -> Applied {
        let of = |id: &JobId| Some(id.clone());
        match event {
            Event::Came { job, answer } if answer.is_new() => self.came(job).map_err(|broken| (of(&job.id), broken)),
            Event::Acknowledged { id } => self.acknowledged(id).map_err(|broken| (of(id), broken)),
            Event::Claimed { server, sequence, lease, jobs } => {
                for job in jobs {
                    let claimed = self.claimed(job, *server, *sequence, *lease);
                    claimed.map_err(|broken| (of(&job.lease.id), broken))?;
                    self.exclusive_alone(&job.lease.id).map_err(|broken| (of(&job.lease.id), broken))?;
                }
                self.suspect_alone(*server)
            }
            Event::Extended { server, lease, kept, lost } => {
                for kept in kept {
                    self.extended(kept, *server, *lease).map_err(|broken| (of(&kept.id), broken))?;
                }
                lost.iter().try_for_each(|lost| self.lost(lost).map_err(|broken| (of(&lost.id), broken)))
            }
            Event::Finished { lease, verdict, answer, then } => {
                self.finished(lease, verdict, *answer).map_err(|broken| (of(&lease.id), broken))?;
                if matches!(answer, Finished::Applied(_)) {
                    then.iter().for_each(|job| drop(self.came(job)));
                }
                Ok(())
            }
            Event::Reported { lease, answer, .. } => {
                self.reported(lease, *answer).map_err(|broken| (of(&lease.id), broken))
            }
            Event::Noted { lease, step } => {
                let job = self.jobs.get_mut(&lease.id);
                job.into_iter().for_each(|job| job.noted = job.noted.max(*step));
                Ok(())
            }
            Event::Flushed { members, into, answer: Flushed::Into(_) } => {
                for member in members {
                    self.flushed(member, &into.id).map_err(|broken| (of(member), broken))?;
                }
                self.came(into).map_err(|broken| (of(&into.id), broken))
            }
            Event::Rescued { id, fence, state } => self.rescued(id, *fence, *state).map_err(|broken| (of(id), broken)),
            Event::Operated { id, action, answer } => {
                self.operated(id, action, answer).map_err(|broken| (of(id), broken))
            }
            Event::Stepped { micros } => {
                self.stepped += Duration::from_micros(u64::try_from(*micros).unwrap_or(0));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Nothing is left with the dead for long, if nothing else is wrong and somebody is there to take it.
    fn recovered(&mut self) -> Applied {
        if self.now < self.looked + Duration::from_millis(500) {
            return Ok(());
        }
        self.looked = self.now;
        for (id, job) in &self.jobs {
            let At::Running(held) = &job.at else { continue };
            let Some(killed) = self.bad.killed(held.server).filter(|killed| *killed + RECOVERY < self.now) else {
                continue;
            };
            // What it had sent before may renew its leases once more.
            let due = held.renewed < killed + Duration::from_secs(1) && self.recovery_is_due(killed);
            let what = || format!("not back {:?} after its process was killed", self.now - killed);
            hold(!due, Rule::RecoveryInSeconds, what).map_err(|broken| (Some(id.clone()), broken))?;
        }
        Ok(())
    }

    fn came(&mut self, came: &Came) -> Checked {
        let old = self.jobs.get(&came.id);
        // What was completed and kept may have been pruned after a step of the clock.
        let pruned = |old: &Job| old.at == At::Ended(JobState::Completed) && self.stepped >= KEPT;
        let gone = old.is_none_or(|old| old.at == At::Gone || pruned(old));
        hold(gone, Rule::OneOutcome, || "enqueued twice".into())?;
        let (newest, acknowledged) = old.map_or((Fence(0), false), |old| (old.newest, old.acknowledged));
        let job = Job {
            came: came.clone(),
            at: At::Waiting,
            acknowledged,
            newest,
            failures: 0,
            crashes: 0,
            noted: 0,
            into: None,
        };
        self.jobs.insert(came.id.clone(), job);
        self.enqueued += 1;
        Ok(())
    }

    fn acknowledged(&mut self, id: &JobId) -> Checked {
        let job = self.jobs.get_mut(id);
        hold(job.is_some(), Rule::NothingIsLost, || "acknowledged, and the store has never had it".into())?;
        job.into_iter().for_each(|job| job.acknowledged = true);
        Ok(())
    }

    fn claimed(&mut self, given: &Given, server: ServerId, sequence: u64, lease: Duration) -> Checked {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&given.lease.id) else {
            return Err((Rule::NothingIsLost, "claimed, and never enqueued".into()));
        };
        if let At::Running(held) = &mut job.at {
            let repeat = (held.server, held.sequence) == (server, sequence);
            if repeat && held.fence == given.lease.fence {
                (held.renewed, held.until) = (now, now + lease);
                return Ok(());
            }
            hold(!repeat, Rule::RepeatGivesTheSame, || "the repeat has another fence".into())?;
            let left = held.until.saturating_sub(now);
            return Err((
                Rule::NoOverlap,
                format!("claimed while a lease of it had {left:?} left and was not rescued"),
            ));
        }
        let cancelled = job.at == At::Ended(JobState::Cancelled);
        hold(!cancelled, Rule::CancelHolds, || "claimed after it was cancelled".into())?;
        hold(job.at == At::Waiting, Rule::OneOutcome, || format!("claimed when it was {:?}", job.at))?;
        let fence = given.lease.fence;
        hold(fence > job.newest, Rule::FencesRise, || format!("{fence} follows {}", job.newest))?;
        let numbers = (given.failures, given.crashes, given.attempt);
        let expected = (job.failures, job.crashes, job.failures + 1);
        hold(numbers == expected, Rule::NumbersAreKept, || {
            format!("(failures, crashes, attempt) are {numbers:?}, should be {expected:?}")
        })?;
        let (begins, noted) = (given.checkpoint.unwrap_or(0), job.noted);
        hold(begins >= noted, Rule::CheckpointsHold, || format!("it begins at {begins}, and {noted} was noted"))?;
        job.newest = fence;
        job.at = At::Running(Hold { fence, server, sequence, renewed: now, until: now + lease, wished: None });
        Ok(())
    }

    /// After each claim of a job: no other one with its exclusive key is held.
    fn exclusive_alone(&self, id: &JobId) -> Checked {
        let Some(key) = self.jobs.get(id).and_then(|job| job.came.exclusive.as_ref()) else { return Ok(()) };
        let held = |job: &Job| matches!(job.at, At::Running(_)) && job.came.exclusive.as_ref() == Some(key);
        let other = self.jobs.iter().find(|(other, job)| *other != id && held(job));
        hold(other.is_none(), Rule::ExclusiveRunsAlone, || format!("claimed while {} was held", other.unwrap().0))
    }

    /// After each claim of a server: if it holds a job with two crashes, it holds nothing else.
    fn suspect_alone(&self, server: ServerId) -> Applied {
        let held = self.jobs.iter().filter(|(_, job)| matches!(&job.at, At::Running(held) if held.server == server));
        let held: Vec<_> = held.collect();
        let suspect = held.iter().find(|(_, job)| job.crashes >= 2);
        match suspect {
            Some((id, _)) if held.len() > 1 => {
                let what = format!("its server holds {} jobs", held.len());
                Err((Some((*id).clone()), (Rule::SuspectRunsAlone, what)))
            }
            _ => Ok(()),
        }
    }

    /// The hold that a lease names, if it is the newest.
    fn held(&mut self, lease: &Lease) -> Option<&mut Hold> {
        match &mut self.jobs.get_mut(&lease.id)?.at {
            At::Running(held) if held.fence == lease.fence => Some(held),
            _ => None,
        }
    }

    fn extended(&mut self, kept: &Lease, server: ServerId, lease: Duration) -> Checked {
        let now = self.now;
        let held = self.held(kept).filter(|held| held.server == server);
        let Some(held) = held else {
            return Err((Rule::StaleIsRefused, format!("the renewal of {kept:?} was accepted")));
        };
        (held.renewed, held.until) = (now, now + lease);
        self.soon_stopped(kept)
    }

    fn lost(&mut self, lost: &Lease) -> Checked {
        let held = self.held(lost).is_some();
        hold(!held, Rule::NothingIsLost, || format!("the renewal of {lost:?} was refused, and it is the newest"))
    }

    /// A running job that was cancelled stops, if its server can hear of it.
    fn soon_stopped(&mut self, lease: &Lease) -> Checked {
        let now = self.now;
        let Some(held) = self.held(lease) else { return Ok(()) };
        let (Some(wished), server) = (held.wished, held.server) else { return Ok(()) };
        let undisturbed = self.bad.disturbed(server, wished, now).is_zero();
        let late = undisturbed && now > wished + CANCEL_TAKES;
        hold(!late, Rule::CancelHolds, || format!("it still runs {:?} after it was cancelled", now - wished))
    }

    fn finished(&mut self, lease: &Lease, verdict: &Verdict, answer: Finished) -> Checked {
        let Finished::Applied(state) = answer else {
            let held = self.held(lease).is_some();
            return hold(!held, Rule::NothingIsLost, || {
                format!("the outcome of {lease:?} was refused; it is the newest")
            });
        };
        hold(self.held(lease).is_some(), Rule::StaleIsRefused, || {
            format!(
                "{verdict:?} of {lease:?} was accepted; the job was {:?}",
                self.jobs.get(&lease.id).map(|job| &job.at)
            )
        })?;
        self.soon_stopped(lease)?;
        let wished = self.held(lease).is_some_and(|held| held.wished.is_some());
        let goes_on = !state.is_terminal();
        hold(!(wished && goes_on), Rule::CancelHolds, || format!("{state} after it was cancelled"))?;
        let Some(job) = self.jobs.get_mut(&lease.id) else { return Ok(()) };
        let exhausted = matches!(verdict, Verdict::Bury(windlass::DeadReason::Exhausted));
        job.failures += u32::from(state == JobState::Retrying || exhausted);
        job.at = match state {
            JobState::Completed if !job.came.keeps => At::Gone,
            state if state.is_terminal() => At::Ended(state),
            _ => At::Waiting,
        };
        hold(job.failures <= job.came.max_retry + 1, Rule::RetriesEnd, || format!("{} attempts failed", job.failures))
    }

    fn reported(&mut self, lease: &Lease, answer: Reported) -> Checked {
        let (held, taken) = (self.held(lease).is_some(), answer == Reported::Applied);
        hold(held || !taken, Rule::StaleIsRefused, || format!("what {lease:?} says was accepted"))?;
        hold(!held || taken, Rule::NothingIsLost, || format!("what {lease:?} says was refused; it is the newest"))
    }

    /// A member ends by becoming a part of one job.
    fn flushed(&mut self, member: &JobId, into: &JobId) -> Checked {
        let Some(job) = self.jobs.get_mut(member) else {
            return Err((Rule::NothingIsLost, "flushed, and never enqueued".into()));
        };
        hold(job.at == At::Waiting, Rule::OneOutcome, || format!("flushed when it was {:?}", job.at))?;
        job.at = if job.came.keeps { At::Ended(JobState::Completed) } else { At::Gone };
        job.into = Some(into.clone());
        Ok(())
    }

    fn rescued(&mut self, id: &JobId, fence: Fence, state: JobState) -> Checked {
        let now = self.now;
        let lease = Lease { id: id.clone(), fence };
        let Some(held) = self.held(&lease).cloned() else {
            let at = self.jobs.get(id).map(|job| &job.at);
            return Err((Rule::OneOutcome, format!("rescued when it was {at:?}")));
        };
        hold(held.until <= now, Rule::NoOverlap, || format!("rescued {:?} too early", held.until - now))?;
        let killed = self.bad.killed(held.server).filter(|killed| *killed <= now);
        // One that could not reach the store while it shut down left without its last reports.
        let left = self.bad.left(held.server).map(|left| left.saturating_sub(LEASE));
        let since = held.renewed.min(left.unwrap_or(held.renewed));
        let disturbed = self.bad.disturbed(held.server, since, now);
        if self.ran.plan.weather == Weather::Outages {
            return Err((Rule::OutageIsNoCrash, format!("a crash; renewed at {:?}", held.renewed)));
        }
        hold(killed.is_some() || disturbed > SHORT_PAUSE, Rule::CrashesAreEarned, || {
            format!("its process lives and stood still for {disturbed:?} only; renewed at {:?}", held.renewed)
        })?;
        let Some(job) = self.jobs.get_mut(id) else { return Ok(()) };
        job.crashes += 1;
        let expected = match (held.wished.is_some(), job.crashes) {
            (true, _) => JobState::Cancelled,
            (false, 3..) => JobState::Dead,
            _ => JobState::Pending,
        };
        let rule = if held.wished.is_some() { Rule::CancelHolds } else { Rule::PoisonAtThree };
        hold(state == expected, rule, || format!("{state} after {} crashes, should be {expected}", job.crashes))?;
        job.at = if state == JobState::Pending { At::Waiting } else { At::Ended(state) };
        Ok(())
    }

    fn recovery_is_due(&self, killed: Duration) -> bool {
        let (from, to) = (killed.saturating_sub(LEASE), killed + RECOVERY);
        self.bad.only_deaths(from, to) && self.bad.somebody_lives(killed, to)
    }

    fn operated(&mut self, id: &JobId, action: &Action, answer: &Operated) -> Checked {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(id) else { return Ok(()) };
        match (action, answer) {
            (_, Operated::Removed) => job.at = At::Gone,
            (Action::Cancel { .. }, Operated::Done(JobState::Running)) => {
                if let At::Running(held) = &mut job.at {
                    held.wished.get_or_insert(now);
                }
            }
            (Action::Redrive, Operated::Done(_)) => {
                (job.failures, job.crashes) = (0, 0);
                job.at = At::Waiting;
            }
            (_, Operated::Done(state)) if state.is_terminal() => job.at = At::Ended(*state),
            _ => {}
        }
        Ok(())
    }

    fn unsettled(&self) -> Vec<String> {
        let open = |job: &Job| matches!(job.at, At::Waiting | At::Running(_));
        self.jobs.iter().filter(|(_, job)| open(job)).map(|(id, job)| format!("{id}: {:?}", job.at)).collect()
    }

    fn at_the_end(&self) -> Applied {
        let records: BTreeMap<_, _> = self.ran.records.iter().map(|record| (record.id().clone(), record)).collect();
        for (id, job) in &self.jobs {
            let found = records.get(id).map(|record| record.state);
            let fits = match (&job.at, found) {
                (At::Ended(JobState::Completed), None) | (At::Gone, None) => true,
                (At::Ended(state), Some(found)) => *state == found,
                _ => false,
            };
            let what = || format!("it ended as {:?} and is {found:?} (acknowledged: {})", job.at, job.acknowledged);
            hold(fits, Rule::NothingIsLost, what).map_err(|broken| (Some(id.clone()), broken))?;
            if let Some(record) = records.get(id) {
                let (kept, expected) = ((record.failures, record.crashes), (job.failures, job.crashes));
                let what = || format!("(failures, crashes) are {kept:?}, should be {expected:?}");
                hold(kept == expected, Rule::NumbersAreKept, what).map_err(|broken| (Some(id.clone()), broken))?;
                let what = || format!("it names {:?}, should be {:?}", record.flushed_into, job.into);
                let named = record.flushed_into == job.into;
                hold(named, Rule::NothingIsLost, what).map_err(|broken| (Some(id.clone()), broken))?;
            }
        }
        self.census().map_err(|broken| (None, broken))
    }

    fn census(&self) -> Checked {
        let census = &self.ran.census;
        let kept: u64 = census.queues.iter().flat_map(|queue| queue.by_state).sum();
        hold(census.enqueued == kept + census.removed, Rule::CensusAddsUp, || format!("{census:?}"))?;
        let (listed, came) = (self.ran.records.len() as u64, self.enqueued);
        let what = || format!("{came} jobs came in, {listed} are listed, and the census is {census:?}");
        hold(listed == kept && came == census.enqueued, Rule::CensusAddsUp, what)
    }
}
