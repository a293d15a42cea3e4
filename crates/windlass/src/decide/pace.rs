//! How long the runs of a server take, and what follows for its prefetch: how many jobs it may hold in advance, and of
//! which kinds. Pure: the finisher notes what ended, the dispatcher asks.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;

use crate::job::Kind;

/// How much expected run time may be held in advance.
pub(crate) const PREFETCH_TIME: Duration = Duration::from_millis(50);
/// How many kinds are remembered; with more of them a server starts to learn anew.
const KINDS: usize = 256;

/// The typical run over all kinds and of each: averages that forget by an eighth a run, in nanoseconds.
#[derive(Default)]
pub(crate) struct Pace {
    all: Option<u64>,
    kinds: FxHashMap<Kind, u64>,
}

/// What a server may hold beyond its free slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefetch {
    pub(crate) jobs: u32,
    /// Only of these kinds. One that has never run here is none of them: it might take hours, and what waits behind it
    /// would be kept from servers that are free.
    pub(crate) quick: Arc<BTreeSet<Kind>>,
}

impl Pace {
    /// Takes note of runs that have ended.
    pub(crate) fn note<'a>(&mut self, runs: impl IntoIterator<Item = (&'a Kind, Duration)>) {
        let mut runs = runs.into_iter().peekable();
        while let Some((kind, ran)) = runs.next() {
            let mut typical = self.kinds.get(kind).copied();
            let mut add = |ran: Duration| {
                let nanos = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX).max(1);
                self.all = Some(self.all.map_or(nanos, |typical| forget(typical, nanos)));
                typical = Some(typical.map_or(nanos, |typical| forget(typical, nanos)));
            };
            add(ran);
            // Mostly many of one kind follow each other: it is looked up once.
            while let Some((_, ran)) = runs.next_if(|(next, _)| *next == kind) {
                add(ran);
            }
            self.remember(kind, typical);
        }
    }

    fn remember(&mut self, kind: &Kind, typical: Option<u64>) {
        let Some(typical) = typical else { return };
        if let Some(known) = self.kinds.get_mut(kind) {
            *known = typical;
            return;
        }
        if self.kinds.len() >= KINDS {
            self.kinds.clear();
        }
        self.kinds.insert(kind.clone(), typical);
    }

    /// As many jobs as the slots get through in 50 ms, at most `most`, of the kinds of which so many would take no more
    /// than twice that. Kinds that `may` refuses (they have a limit of their own) are left out.
    pub(crate) fn prefetch(&self, slots: u32, most: u32, may: impl Fn(&Kind) -> bool) -> Prefetch {
        let Some(typical) = self.all else { return Prefetch::default() };
        let time = u64::from(slots) * PREFETCH_TIME.as_nanos() as u64;
        let jobs = u32::try_from(time / typical.max(1)).unwrap_or(u32::MAX).min(most);
        if jobs == 0 {
            return Prefetch::default();
        }
        let fits = |typical: u64| typical.saturating_mul(u64::from(jobs)) <= time.saturating_mul(2);
        let quick = self.kinds.iter().filter(|(kind, typical)| fits(**typical) && may(kind));
        Prefetch { jobs, quick: Arc::new(quick.map(|(kind, _)| kind.clone()).collect()) }
    }
}

fn forget(typical: u64, newest: u64) -> u64 {
    typical - typical / 8 + newest / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn kind(name: &str) -> Kind {
        Kind::new(name).unwrap()
    }

    fn names(prefetch: &Prefetch) -> Vec<&str> {
        prefetch.quick.iter().map(Kind::as_str).collect()
    }

    #[test]
    fn nothing_is_held_in_advance_before_a_run_has_ended() {
        assert_eq!(Pace::default().prefetch(10, 512, |_| true), Prefetch::default());
    }

    #[test]
    fn as_many_jobs_as_take_50_ms() {
        let mut pace = Pace::default();
        pace.note([(&kind("a"), 5 * MS)]);
        let prefetch = pace.prefetch(10, 512, |_| true);
        assert_eq!((prefetch.jobs, names(&prefetch)), (100, vec!["a"]));
        assert_eq!(pace.prefetch(10, 7, |_| true).jobs, 7);
    }

    #[test]
    fn a_slow_kind_among_quick_ones_is_not_held_in_advance_and_neither_is_an_unknown_one() {
        let mut pace = Pace::default();
        pace.note([(&kind("slow"), 500 * MS)]);
        (0..100).for_each(|_| pace.note([(&kind("quick"), MS / 100)]));
        let prefetch = pace.prefetch(10, 512, |_| true);
        assert_eq!((prefetch.jobs, names(&prefetch)), (512, vec!["quick"]));
    }

    #[test]
    fn a_kind_with_a_limit_is_left_out() {
        let mut pace = Pace::default();
        pace.note([(&kind("a"), MS)]);
        assert!(pace.prefetch(10, 512, |kind| kind.as_str() != "a").quick.is_empty());
    }

    #[test]
    fn a_kind_that_becomes_slow_is_found_out() {
        let mut pace = Pace::default();
        (0..100).for_each(|_| pace.note([(&kind("a"), MS / 100)]));
        (0..100).for_each(|_| pace.note([(&kind("b"), MS / 100)]));
        (0..3).for_each(|_| pace.note([(&kind("a"), 500 * MS)]));
        let prefetch = pace.prefetch(10, 512, |_| true);
        assert_eq!(prefetch.jobs, 3, "the average has risen with it");
        (0..100).for_each(|_| pace.note([(&kind("b"), MS / 100)]));
        assert_eq!(names(&pace.prefetch(10, 512, |_| true)), ["b"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut pace = Pace::default();
        (0..10 * KINDS).for_each(|n| pace.note([(&kind(&format!("k{n}")), MS)]));
        assert!(pace.kinds.len() <= KINDS);
    }
}
