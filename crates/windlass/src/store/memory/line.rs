//! The pending jobs of one queue and kind, in the order in which they run, and the counts of all its jobs.

use std::{cmp::Reverse, collections::BTreeMap};

use super::Order;
use crate::job::{Kind, State};

/// One (queue, kind).
pub(super) struct Line {
    pub(super) queue: usize,
    pub(super) kind: Kind,
    pub(super) pending: BTreeMap<Order, u64>,
    /// Jobs whose next crash is their last: claimed one at a time, by a server that runs nothing else.
    pub(super) suspects: BTreeMap<Order, u64>,
    pub(super) by_state: [u64; 9],
    /// The time with live servers of which none declared the kind, in microseconds.
    pub(super) undeclared_us: u64,
}

impl Line {
    pub(super) fn new(queue: usize, kind: Kind) -> Self {
        Self { queue, kind, pending: BTreeMap::new(), suspects: BTreeMap::new(), by_state: [0; 9], undeclared_us: 0 }
    }

    pub(super) fn list(&mut self, suspect: bool) -> &mut BTreeMap<Order, u64> {
        if suspect { &mut self.suspects } else { &mut self.pending }
    }

    /// Jobs of which one has been pending for the longest: of each priority the first that came in at the end of the
    /// line (turns from 0 up), and the first that was put at the front (turns from -1 down, so that it stands last).
    pub(super) fn oldest(&self) -> impl Iterator<Item = u64> {
        [&self.pending, &self.suspects].into_iter().flat_map(|list| {
            let mut next = list.first_key_value();
            std::iter::from_fn(move || {
                let ((priority, _), _) = next?;
                next = list.range((*priority, i64::MAX)..).next();
                let front = list.range((*priority, i64::MIN)..(*priority, 0)).next_back();
                let back = list.range((*priority, 0)..(*priority, i64::MAX)).next();
                Some(front.into_iter().chain(back).map(|(_, seq)| *seq))
            })
            .flatten()
        })
    }

    /// How many jobs of a priority stand in line, up to `most`.
    pub(super) fn standing(&self, priority: Reverse<i8>, most: u32) -> u32 {
        self.pending.range((priority, i64::MIN)..=(priority, i64::MAX)).take(most as usize).count() as u32
    }

    /// Jobs that a draining server has still to see to the end.
    pub(super) fn outstanding(&self) -> u64 {
        let states = [State::Pending, State::Running, State::Scheduled, State::Retrying];
        states.iter().map(|state| self.by_state[state.code() as usize]).sum()
    }
}
