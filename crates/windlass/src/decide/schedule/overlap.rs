//! What becomes of a tick while jobs of earlier ticks have not ended.

use serde::{Deserialize, Serialize};

use crate::job::Timestamp;

/// What a schedule does when a tick is due and the job of an earlier one has not ended.
///
/// ```
/// use windlass::{Overlap, decide::schedule::overlap::{Start, Unended, overlap}};
/// let busy = Unended { running: 1, buffered: false };
/// assert_eq!(overlap(Overlap::Skip, busy), Start::Missed);
/// assert_eq!(overlap(Overlap::CancelRunning, busy), Start::InPlace);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// They run beside each other.
    #[default]
    Allow,
    /// The tick is left out.
    Skip,
    /// One tick waits until nothing of the schedule runs; further ones are left out.
    BufferOne,
    /// What runs is cancelled, and the tick runs in its place.
    CancelRunning,
}

/// What has not ended of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unended {
    /// Jobs that have begun, or may begin at any time.
    pub running: u64,
    /// A tick waits for them.
    pub buffered: bool,
}

/// What becomes of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// It starts.
    Now,
    /// It starts, and what runs is cancelled.
    InPlace,
    /// It waits until nothing runs.
    Buffered,
    /// It is left out: [`MissReason::Overlap`](super::due::MissReason::Overlap).
    Missed,
}

/// Decides about one tick.
pub fn overlap(policy: Overlap, unended: Unended) -> Start {
    match policy {
        _ if unended == Unended::default() => Start::Now,
        Overlap::Allow => Start::Now,
        Overlap::Skip => Start::Missed,
        Overlap::BufferOne if unended.buffered => Start::Missed,
        Overlap::BufferOne => Start::Buffered,
        Overlap::CancelRunning => Start::InPlace,
    }
}

/// Decides about the ticks that are due at once, in order: each that starts is one that the next ones find running.
///
/// ```
/// use windlass::{Overlap, Timestamp, decide::schedule::overlap::{Start, Unended, overlaps}};
/// let ticks = [1, 2, 3].map(Timestamp::from_micros);
/// let starts: Vec<Start> =
///     overlaps(Overlap::BufferOne, Unended::default(), &ticks).into_iter().map(|(_, start)| start).collect();
/// assert_eq!(starts, [Start::Now, Start::Buffered, Start::Missed]);
/// ```
pub fn overlaps(policy: Overlap, mut unended: Unended, ticks: &[Timestamp]) -> Vec<(Timestamp, Start)> {
    let decide = |tick: &Timestamp| {
        let start = overlap(policy, unended);
        unended = follow(unended, start);
        (*tick, start)
    };
    ticks.iter().map(decide).collect()
}

/// What has not ended once this was done.
fn follow(unended: Unended, start: Start) -> Unended {
    match start {
        Start::Now => Unended { running: unended.running + 1, ..unended },
        Start::InPlace => Unended { running: 1, ..unended },
        Start::Buffered => Unended { buffered: true, ..unended },
        Start::Missed => unended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(policy: Overlap, unended: Unended, due: i64) -> [usize; 4] {
        let ticks: Vec<_> = (0..due).map(Timestamp::from_micros).collect();
        let decided = overlaps(policy, unended, &ticks);
        [Start::Now, Start::InPlace, Start::Buffered, Start::Missed]
            .map(|start| decided.iter().filter(|(_, found)| *found == start).count())
    }

    #[test]
    fn of_five_ticks_at_once_each_policy_starts_its_exact_number() {
        let idle = Unended::default();
        assert_eq!(counts(Overlap::Allow, idle, 5), [5, 0, 0, 0]);
        assert_eq!(counts(Overlap::Skip, idle, 5), [1, 0, 0, 4]);
        assert_eq!(counts(Overlap::BufferOne, idle, 5), [1, 0, 1, 3]);
        assert_eq!(counts(Overlap::CancelRunning, idle, 5), [1, 4, 0, 0]);
    }

    #[test]
    fn what_still_runs_is_counted() {
        let busy = Unended { running: 1, buffered: false };
        assert_eq!(counts(Overlap::Allow, busy, 3), [3, 0, 0, 0]);
        assert_eq!(counts(Overlap::Skip, busy, 3), [0, 0, 0, 3]);
        assert_eq!(counts(Overlap::BufferOne, busy, 3), [0, 0, 1, 2]);
        assert_eq!(counts(Overlap::CancelRunning, busy, 3), [0, 3, 0, 0]);
        let full = Unended { running: 1, buffered: true };
        assert_eq!(counts(Overlap::BufferOne, full, 3), [0, 0, 0, 3]);
    }
}
