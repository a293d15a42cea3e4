//! The instants of a pattern in a zone, where a wall clock can show a time twice or leave it out. The policies of the
//! schedule say what then happens.

use super::{
    Fold, Gap,
    civil::DAY,
    pattern::Pattern,
    zone::{Change, Zone},
};

/// Farther apart than any two moments that a zone shows as the same time of its wall.
const NEAR: i64 = 3 * DAY;

/// A pattern on the wall of a zone.
#[derive(Clone, Debug)]
pub(crate) struct Wall<'a> {
    pub(crate) pattern: &'a Pattern,
    pub(crate) zone: Zone,
    pub(crate) gap: Gap,
    pub(crate) fold: Fold,
}

impl Wall<'_> {
    /// The first instant after this one, in seconds.
    ///
    /// Between two changes of the clock the wall runs evenly, so each stretch is searched by itself, without those of its
    /// times that belong to the stretch beside it.
    pub(crate) fn next(&self, after: i64) -> Option<i64> {
        let mut from = after.checked_add(1)?;
        if self.zone.first_change(after, from).is_some_and(|change| self.runs_after(change)) {
            return Some(from);
        }
        loop {
            let offset = self.zone.offset(from);
            let nearby = self.pattern.first_from(from + offset - NEAR)?;
            if nearby > from + offset + NEAR {
                // Nothing matches around here: go on shortly before something does.
                from = nearby - offset - NEAR;
                continue;
            }
            let found = self.pattern.first_from(self.begin(from, offset))? - offset;
            let seen = found.min(from + 2 * NEAR);
            match self.zone.first_change(from, seen + self.look_ahead()) {
                Some(change) if found >= self.end(change) => {
                    if self.runs_after(change) {
                        return Some(change.at);
                    }
                    from = change.at;
                }
                _ if found > seen => from = seen,
                _ => return Some(found),
            }
        }
    }

    /// The first time of the wall at or after `from` that is not a repetition to be left out.
    fn begin(&self, from: i64, offset: i64) -> i64 {
        let local = from + offset;
        if self.fold != Fold::First {
            return local;
        }
        self.zone.last_change(from - NEAR, from).map_or(local, |change| local.max(change.at + change.before))
    }

    /// The instant at which the stretch before a change ends, or at which its times begin that come again.
    fn end(&self, change: Change) -> i64 {
        let again = if self.fold == Fold::Second { (change.before - change.after).max(0) } else { 0 };
        change.at - again
    }

    /// Whoever runs at the second time has to know of a change that is still to come.
    fn look_ahead(&self) -> i64 {
        if self.fold == Fold::Second { NEAR } else { 0 }
    }

    /// Something was due in the gap that this change leaves, and is made up for.
    fn runs_after(&self, change: Change) -> bool {
        let (begin, end) = (change.at + change.before, change.at + change.after);
        self.gap == Gap::RunAfter && begin < end && self.pattern.first_from(begin).is_some_and(|found| found < end)
    }
}
