//! Time zones by their IANA names, from the database that is part of this program, and where their clocks change. Never
//! reads the system's own database, so that every process with this version agrees.

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

use super::{SpecError, civil::DAY};

/// The version of the time zone database that is part of this program, such as `2025b`.
///
/// ```
/// assert!(windlass::tz_version().starts_with("20"));
/// ```
pub fn tz_version() -> &'static str {
    chrono_tz::IANA_TZDB_VERSION
}

/// How far apart two changes of the clock that cancel each other have to be: closer ones are not seen. In the database
/// of today the closest are weeks apart.
const STEP: i64 = DAY;

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zone(Tz);

/// A change of the clock: from `at` on the wall is `after` seconds ahead of UTC, and was `before` seconds until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: i64,
    pub(crate) before: i64,
    pub(crate) after: i64,
}

impl Zone {
    pub(crate) const UTC: Self = Self(Tz::UTC);

    /// Reads an IANA name.
    pub(crate) fn named(name: &str) -> Result<Self, SpecError> {
        name.parse().map(Self).map_err(|_| {
            let meant = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
            let advice = meant.map_or_else(
                || "use a name of the IANA database, such as Europe/Berlin or UTC".into(),
                |zone| format!("write it as {}", zone.name()),
            );
            SpecError::new("time zone", name, format!("is not in the database {}; {advice}", tz_version()))
        })
    }

    pub(crate) fn name(self) -> &'static str {
        self.0.name()
    }

    /// How many seconds the wall is ahead of UTC at this moment.
    pub(crate) fn offset(self, utc: i64) -> i64 {
        if self == Self::UTC {
            return 0;
        }
        i64::from(self.0.offset_from_utc_datetime(&naive(utc)).fix().local_minus_utc())
    }

    /// The first change after `from`, up to and including `until`.
    pub(crate) fn first_change(self, from: i64, until: i64) -> Option<Change> {
        let (mut low, offset) = (from, self.offset(from));
        while low < until {
            let high = (low + STEP).min(until);
            if self.offset(high) != offset {
                return Some(self.narrow(low, high));
            }
            low = high;
        }
        None
    }

    /// The last change at or before `until`, and after `from`.
    pub(crate) fn last_change(self, from: i64, until: i64) -> Option<Change> {
        let (mut high, offset) = (until, self.offset(until));
        while high > from {
            let low = (high - STEP).max(from);
            if self.offset(low) != offset {
                return Some(self.narrow(low, high));
            }
            high = low;
        }
        None
    }

    /// The change between two moments of different offsets.
    fn narrow(self, mut low: i64, mut high: i64) -> Change {
        let before = self.offset(low);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.offset(middle) == before {
                low = middle;
            } else {
                high = middle;
            }
        }
        Change { at: high, before, after: self.offset(high) }
    }
}

/// The moment for chrono, which knows fewer years than we do; zones do not change in those.
fn naive(utc: i64) -> NaiveDateTime {
    const FAR: i64 = 1 << 37;
    DateTime::from_timestamp(utc.clamp(-FAR, FAR), 0).unwrap_or_default().naive_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_from_both_sides() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let spring = 1_774_746_000; // 2026-03-29T01:00:00Z
        let change = Change { at: spring, before: 3600, after: 7200 };
        assert_eq!(berlin.first_change(spring - 5 * DAY, spring), Some(change));
        assert_eq!(berlin.first_change(spring - 5 * DAY, spring - 1), None);
        assert_eq!(berlin.first_change(spring, spring + 5 * DAY), None);
        assert_eq!(berlin.last_change(spring - 1, spring + 5 * DAY), Some(change));
        assert_eq!(berlin.last_change(spring, spring + 5 * DAY), None);
    }

    #[test]
    fn an_unknown_zone_is_refused_with_what_was_meant() {
        let error = Zone::named("europe/berlin").unwrap_err().to_string();
        assert!(error.contains("Europe/Berlin") && error.contains("time zone `europe/berlin`"), "{error}");
        assert!(Zone::named("").is_err());
        assert_eq!(Zone::UTC.offset(i64::MAX), 0);
        assert_eq!(Zone::named("Asia/Jakarta").unwrap().offset(i64::MAX), 7 * 3600);
    }
}
