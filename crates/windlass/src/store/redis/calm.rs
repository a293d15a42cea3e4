//! What is known of a store in which nothing happens, so that an idle server need not ask.
//!
//! Once claims have found nothing for a while, all queues are looked at over the connection for hints (`lua/survey.lua`).
//! Redis remembers what was read there and tells once any of it changes, whoever changes it, Go included. As long as
//! nothing was told, looks of claims, promotions and sweeps are answered from it, without a round trip. It is told
//! again every few seconds, so that a hint that never came costs no more than that.
//!
//! Knows no more than the numbers; `ops/calm.rs` asks.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use rustc_hash::FxHashSet;

use crate::job::{Monotonic, QueueName, ServerId};

/// How long claims find nothing before it is worth a survey.
const SETTLED_AFTER: Duration = Duration::from_millis(400);
/// How long a survey holds, and the age at which the next one is made.
const HOLDS: Duration = Duration::from_secs(6);
const RENEWED_AFTER: Duration = Duration::from_secs(4);

/// What a survey found in one queue.
pub(super) struct Surveyed {
    pub(super) queue: QueueName,
    /// It is among the queues that there are, and not only one that a claim has named.
    pub(super) registered: bool,
    /// Something stands in line.
    pub(super) waiting: bool,
    pub(super) next_due: Option<Duration>,
    pub(super) next_lapse: Option<Duration>,
    /// A sweep has something to mend, to carry or to move.
    pub(super) mend: bool,
}

/// All queues at one moment.
struct Survey {
    at: Monotonic,
    moves: u64,
    queues: Vec<Surveyed>,
}

pub(super) struct Calm {
    /// In tests that move time, the age of what is known cannot be told: there is no calm.
    possible: bool,
    /// Moves on with whatever may have changed something.
    moves: AtomicU64,
    /// Since when claims find nothing, and the moves by then.
    quiet: Mutex<Option<(Monotonic, u64)>>,
    survey: Mutex<Option<Arc<Survey>>>,
    surveying: AtomicBool,
    /// Servers whose last claim has had no answer: what it took may be theirs, so they must ask.
    unanswered: Mutex<FxHashSet<ServerId>>,
    /// The queues that claims have named. Go may put jobs into one that is not registered any more.
    named: Mutex<BTreeSet<QueueName>>,
    /// The last stamp of an idle sweep.
    stamped: Mutex<Option<Monotonic>>,
    /// Nobody may rescue for a while, as the last stamp has said.
    pausing: AtomicBool,
    /// The connection for hints, while Redis remembers what is read over it.
    hearing: Mutex<Option<MultiplexedConnection>>,
}

impl Calm {
    pub(super) fn new(possible: bool) -> Self {
        Self {
            possible,
            moves: AtomicU64::new(0),
            quiet: Mutex::default(),
            survey: Mutex::default(),
            surveying: AtomicBool::new(false),
            unanswered: Mutex::default(),
            named: Mutex::default(),
            stamped: Mutex::default(),
            pausing: AtomicBool::new(false),
            hearing: Mutex::default(),
        }
    }

    /// Something may have changed.
    pub(super) fn stir(&self) {
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn stir_if(&self, changed: bool) {
        if changed {
            self.stir();
        }
    }

    /// The connection for hints is there, or is gone.
    pub(super) fn hear(&self, connection: Option<MultiplexedConnection>) {
        *self.hearing.lock() = connection.filter(|_| self.possible);
        self.stir();
    }

    pub(super) fn hearing(&self) -> Option<MultiplexedConnection> {
        self.hearing.lock().clone()
    }

    fn survey(&self, now: Monotonic) -> Option<Arc<Survey>> {
        let survey = self.survey.lock().clone()?;
        let moves = self.moves.load(Ordering::Acquire);
        (survey.moves == moves && now >= survey.at && now.since(survey.at) < HOLDS).then_some(survey)
    }

    /// Whether a claim on these queues would find nothing.
    pub(super) fn nobody_waits<'q>(
        &self,
        server: ServerId,
        mut queues: impl Iterator<Item = &'q QueueName>,
        now: Monotonic,
    ) -> bool {
        let Some(survey) = self.survey(now) else { return false };
        // One that the survey does not know may hold anything.
        let waits = |queue: &QueueName| {
            survey.queues.iter().find(|there| there.queue == *queue).is_none_or(|there| there.waiting)
        };
        !queues.any(waits) && !self.unanswered.lock().contains(&server)
    }

    /// Whether nothing is due, and if so when something will be.
    pub(super) fn nothing_due(&self, now: Monotonic) -> Option<Option<Duration>> {
        let survey = self.survey(now)?;
        let first = survey.queues.iter().filter_map(|queue| queue.next_due).min();
        let left = first.map(|due| survey.at.after(due).since(now));
        left.is_none_or(|left| !left.is_zero()).then_some(left)
    }

    /// Whether a sweep would find nothing to do. While nobody may rescue, each sweep stamps the store: one that comes
    /// rarely looks like an outage, and would prolong the pause each time.
    pub(super) fn nothing_lapsed(&self, now: Monotonic) -> bool {
        if self.pausing.load(Ordering::Acquire) {
            return false;
        }
        let idle = |survey: Arc<Survey>| {
            let lapsed = |lapse: Duration| survey.at.after(lapse) <= now;
            !survey.queues.iter().any(|queue| queue.mend || queue.next_lapse.is_some_and(lapsed))
        };
        self.survey(now).is_some_and(idle)
    }

    /// The queues that there are.
    pub(super) fn queues(&self, now: Monotonic) -> Option<Vec<QueueName>> {
        let survey = self.survey(now)?;
        Some(survey.queues.iter().filter(|there| there.registered).map(|there| there.queue.clone()).collect())
    }

    /// A claim of this server on these queues is under way; until it is answered, the server must ask.
    pub(super) fn asks<'q>(&self, server: ServerId, queues: impl Iterator<Item = &'q QueueName>) {
        self.unanswered.lock().insert(server);
        let mut named = self.named.lock();
        for queue in queues {
            if !named.contains(queue) {
                named.insert(queue.clone());
            }
        }
    }

    /// The queues that claims have named.
    pub(super) fn named(&self) -> BTreeSet<QueueName> {
        self.named.lock().clone()
    }

    /// Whether lapsed leases may be taken, as a stamp has said.
    pub(super) fn may_rescue(&self, may: bool) {
        self.pausing.store(!may, Ordering::Release);
    }

    pub(super) fn answered(&self, server: ServerId) {
        self.unanswered.lock().remove(&server);
    }

    /// Whether it is time for a survey, now that a claim has found nothing; whoever is told so makes it, and ends it
    /// with [`surveyed`](Self::surveyed).
    pub(super) fn wants_survey(&self, now: Monotonic) -> bool {
        if self.hearing.lock().is_none() {
            return false;
        }
        let moves = self.moves.load(Ordering::Acquire);
        let old = self.survey(now).map(|survey| now.since(survey.at));
        let due = match (old, &mut *self.quiet.lock()) {
            (Some(age), _) => age >= RENEWED_AFTER,
            (None, Some((since, then))) if *then == moves => now.since(*since) >= SETTLED_AFTER,
            (None, quiet) => {
                *quiet = Some((now, moves));
                false
            }
        };
        due && !self.surveying.swap(true, Ordering::AcqRel)
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// What a survey found that was begun at this moment and after so many moves. None: it failed. Says whether something
    /// waits that nobody was told of.
    pub(super) fn surveyed(&self, at: Monotonic, moves: u64, found: Option<Vec<Surveyed>>) -> bool {
        let missed = found.as_ref().is_some_and(|queues| {
            let known = self.survey(at);
            let was_empty = |queue: &Surveyed| {
                known
                    .as_ref()
                    .is_some_and(|survey| survey.queues.iter().any(|old| old.queue == queue.queue && !old.waiting))
            };
            queues.iter().any(|queue| queue.waiting && was_empty(queue))
        });
        *self.survey.lock() = found.map(|queues| Arc::new(Survey { at, moves, queues }));
        self.surveying.store(false, Ordering::Release);
        missed
    }

    /// Whether an idle sweep should stamp the store, as a sign that somebody is there.
    pub(super) fn stamp_is_due(&self, now: Monotonic, lease: Duration) -> bool {
        let mut stamped = self.stamped.lock();
        let due = stamped.is_none_or(|at| now < at || now.since(at) >= lease / 4);
        if due {
            *stamped = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: i64) -> Monotonic {
        Monotonic(number * 1_000_000)
    }

    fn found(waiting: bool, next_due: Option<u64>) -> Option<Vec<Surveyed>> {
        let queue = QueueName::new("q").unwrap();
        let next_due = next_due.map(Duration::from_secs);
        Some(vec![Surveyed { queue, registered: true, waiting, next_due, next_lapse: None, mend: false }])
    }

    fn nobody_waits(calm: &Calm, now: Monotonic) -> bool {
        calm.nobody_waits(ServerId(uuid::Uuid::nil()), [QueueName::new("q").unwrap()].iter(), now)
    }

    #[test]
    fn what_is_known_holds_until_something_stirs_and_not_for_long() {
        let calm = Calm::new(true);
        assert!(!nobody_waits(&calm, second(10)));
        calm.surveyed(second(10), calm.moves(), found(false, Some(3)));
        assert!(nobody_waits(&calm, second(11)) && calm.nothing_lapsed(second(11)));
        assert_eq!(calm.nothing_due(second(11)), Some(Some(Duration::from_secs(2))));
        assert_eq!(calm.nothing_due(second(13)), None, "it is due");
        assert!(!nobody_waits(&calm, second(17)), "it is old");
        calm.stir();
        assert!(!nobody_waits(&calm, second(11)));
        assert_eq!((calm.nothing_due(second(11)), calm.queues(second(11)).is_none()), (None, true));
    }

    #[test]
    fn what_stirs_during_a_survey_outdates_it() {
        let calm = Calm::new(true);
        let moves = calm.moves();
        calm.stir();
        calm.surveyed(second(10), moves, found(false, None));
        assert!(!nobody_waits(&calm, second(10)));
    }

    #[test]
    fn a_server_whose_claim_had_no_answer_must_ask() {
        let calm = Calm::new(true);
        calm.surveyed(second(10), calm.moves(), found(false, None));
        calm.asks(ServerId(uuid::Uuid::nil()), [].iter());
        assert!(!nobody_waits(&calm, second(10)));
        calm.answered(ServerId(uuid::Uuid::nil()));
        assert!(nobody_waits(&calm, second(10)));
    }

    #[test]
    fn a_survey_that_finds_what_no_hint_told_of_says_so() {
        let calm = Calm::new(true);
        assert!(!calm.surveyed(second(10), calm.moves(), found(false, None)));
        assert!(calm.surveyed(second(14), calm.moves(), found(true, None)));
        assert!(!nobody_waits(&calm, second(14)));
    }

    #[test]
    fn a_queue_that_the_survey_does_not_know_must_be_asked_for() {
        let calm = Calm::new(true);
        calm.surveyed(second(10), calm.moves(), found(false, None));
        let other = QueueName::new("other").unwrap();
        assert!(!calm.nobody_waits(ServerId(uuid::Uuid::nil()), [other.clone()].iter(), second(10)));
        calm.asks(ServerId(uuid::Uuid::nil()), [other.clone()].iter());
        assert_eq!(calm.named(), [other].into(), "the next survey looks at it");
    }

    #[test]
    fn while_nobody_may_rescue_each_sweep_is_made() {
        let calm = Calm::new(true);
        calm.surveyed(second(10), calm.moves(), found(false, None));
        calm.may_rescue(false);
        assert!(!calm.nothing_lapsed(second(11)));
        calm.may_rescue(true);
        assert!(calm.nothing_lapsed(second(11)));
    }

    #[test]
    fn an_idle_sweep_stamps_four_times_a_lease() {
        let (calm, lease) = (Calm::new(true), Duration::from_secs(8));
        let stamps = (0..8).filter(|at| calm.stamp_is_due(second(*at), lease)).count();
        assert_eq!(stamps, 4);
    }
}
