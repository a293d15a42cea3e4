//! Where the next claim begins to look. Decides; `ops/claim.rs` asks.
//!
//! The entries of jobs that have gone stay in the index of pending jobs until no snapshot can see them, and a claim from the
//! front walks over all of them. As long as that is a short walk, every claim takes it, and the order is exact. After a
//! long one, claims begin at marks for a while: at the first job that was found there, or, where there was none, at the
//! places that were given a moment ago. What comes in below a mark (a transaction that took long to commit) is found by
//! the next long walk, which is at most [`LONGEST`] away. What is put in front is always found.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::job::Monotonic;

/// So many entries are walked with every claim.
const SHORT: u64 = 4_000;
/// How long after a walk the next one is taken, for each entry: a walk takes about a hundredth of that.
const PAUSE_PER_ENTRY: Duration = Duration::from_micros(10);
/// The longest time between two walks.
const LONGEST: Duration = Duration::from_secs(5);
/// Places that were given so long ago are taken for committed.
const SETTLED: Duration = Duration::from_millis(250);
/// A store with more lines than that has no marks.
const MOST: usize = 10_000;

/// A line and a priority, as one number.
pub(super) type Stretch = i64;

/// What a claim was told of the lines.
pub(super) struct Seen {
    /// The first job of each stretch.
    pub(super) heads: Vec<(Stretch, i64)>,
    /// How many entries were walked to find them.
    pub(super) walked: u64,
    /// The highest place that had been given before.
    pub(super) place: i64,
}

#[derive(Default)]
pub(super) struct Marks {
    marks: BTreeMap<Stretch, i64>,
    /// Until then claims begin at the marks.
    whole_again: Option<Monotonic>,
    /// When which place had been given.
    places: VecDeque<(Monotonic, i64)>,
}

impl Marks {
    /// The marks at which a claim begins; none: at the front.
    pub(super) fn begin(&self, now: Monotonic) -> Option<&BTreeMap<Stretch, i64>> {
        self.whole_again.filter(|again| now < *again).map(|_| &self.marks)
    }

    /// Notes what a claim that began at `now`, at the front or not, was told.
    pub(super) fn learn(&mut self, now: Monotonic, whole: bool, seen: &Seen) {
        let settled = self.settled(now, seen.place);
        if whole {
            let pause = PAUSE_PER_ENTRY.saturating_mul(u32::try_from(seen.walked).unwrap_or(u32::MAX)).min(LONGEST);
            self.whole_again = (seen.walked > SHORT).then(|| now.after(pause));
        }
        let Some(settled) = settled else { return };
        let mut heads: BTreeMap<_, _> = seen.heads.iter().copied().filter(|(_, ord)| *ord >= 0).collect();
        for (stretch, mark) in &mut self.marks {
            // A walk from the front tells the truth; one from the mark says nothing of what is before.
            *mark = match heads.remove(stretch) {
                Some(head) => head.min(settled),
                None => settled,
            };
        }
        self.marks.extend(heads.into_iter().map(|(stretch, head)| (stretch, head.min(settled))));
        if self.marks.len() > MOST {
            *self = Self::default();
        }
    }

    /// The highest place that was given before the moment in which all are taken for committed.
    fn settled(&mut self, now: Monotonic, place: i64) -> Option<i64> {
        // They fall when a copy of the store is restored; what is known of another one is worth nothing.
        if self.places.back().is_some_and(|(_, last)| *last > place) {
            *self = Self::default();
        }
        if self.places.back().is_none_or(|(at, _)| now.since(*at) >= SETTLED / 10) {
            self.places.push_back((now, place));
        }
        while self.places.get(1).is_some_and(|(at, _)| now.since(*at) >= SETTLED) {
            self.places.pop_front();
        }
        self.places.front().filter(|(at, _)| now.since(*at) >= SETTLED).map(|(_, place)| *place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Stretch = 256;

    fn at(millis: i64) -> Monotonic {
        Monotonic(millis * 1000)
    }

    fn seen(head: Option<i64>, walked: u64, place: i64) -> Seen {
        Seen { heads: head.map(|head| (LINE, head)).into_iter().collect(), walked, place }
    }

    /// Marks after a walk over `walked` entries at 1 s that found `head`; 900 places had been given long before.
    fn after_a_walk(head: Option<i64>, walked: u64) -> Marks {
        let mut marks = Marks::default();
        marks.learn(at(0), true, &seen(Some(1), 0, 900));
        marks.learn(at(500), true, &seen(Some(1), 0, 990));
        marks.learn(at(1000), true, &seen(head, walked, 1000));
        marks
    }

    fn mark(marks: &Marks, now: i64) -> Option<i64> {
        marks.begin(at(now)).map(|marks| marks[&LINE])
    }

    #[test]
    fn while_the_walk_is_short_every_claim_begins_at_the_front() {
        assert_eq!(mark(&after_a_walk(Some(700), SHORT), 1000), None);
    }

    #[test]
    fn after_a_long_walk_claims_begin_at_the_head_until_the_next_walk_is_due() {
        let marks = after_a_walk(Some(700), 100_000);
        assert_eq!(mark(&marks, 1000), Some(700));
        assert_eq!(mark(&marks, 1999), Some(700));
        assert_eq!(mark(&marks, 2000), None, "10 us an entry later");
    }

    #[test]
    fn the_next_walk_is_never_far_away() {
        let marks = after_a_walk(Some(700), u64::MAX);
        assert_eq!((mark(&marks, 5999), mark(&marks, 6000)), (Some(700), None));
    }

    #[test]
    fn where_there_is_no_job_claims_begin_at_the_places_of_a_moment_ago() {
        assert_eq!(mark(&after_a_walk(None, 100_000), 1000), Some(990));
    }

    #[test]
    fn a_head_younger_than_a_moment_is_no_mark_since_older_ones_may_still_commit() {
        assert_eq!(mark(&after_a_walk(Some(999), 100_000), 1000), Some(990));
    }

    #[test]
    fn a_claim_from_the_marks_moves_them_and_not_the_next_walk() {
        let mut marks = after_a_walk(Some(700), 100_000);
        marks.learn(at(1100), false, &seen(Some(800), 10, 1000));
        assert_eq!((mark(&marks, 1100), mark(&marks, 2000)), (Some(800), None));
    }

    #[test]
    fn a_walk_from_the_front_takes_a_mark_back_to_what_committed_late() {
        let mut marks = after_a_walk(Some(700), 100_000);
        marks.learn(at(1200), true, &seen(Some(650), 100_000, 1000));
        assert_eq!(mark(&marks, 1200), Some(650));
    }

    #[test]
    fn a_job_in_front_is_no_mark() {
        let mut marks = after_a_walk(Some(700), 100_000);
        marks.learn(at(1100), false, &seen(Some(-5), 10, 1000));
        assert_eq!(mark(&marks, 1100), Some(990));
    }

    #[test]
    fn a_store_whose_places_have_fallen_is_another_one() {
        let mut marks = after_a_walk(Some(700), 100_000);
        marks.learn(at(1100), false, &seen(Some(3), 10, 5));
        assert!(marks.begin(at(1100)).is_none());
    }
}
