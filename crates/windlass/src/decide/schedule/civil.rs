//! The calendar: days since 1970 and their dates, by the rules of the Gregorian calendar in both directions of time.
//! Knows no zones. All numbers are `i64`, so that no date overflows.

/// Seconds of a day.
pub(crate) const DAY: i64 = 86_400;

/// A date and the time of day, as a clock on the wall shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    /// Since midnight.
    pub(crate) second: u32,
}

impl Civil {
    /// What the wall shows this many seconds after 1970 began there.
    pub(crate) fn of(local: i64) -> Self {
        let (year, month, day) = date(local.div_euclid(DAY));
        Self { year, month, day, second: local.rem_euclid(DAY) as u32 }
    }

    /// The inverse of [`of`](Self::of).
    pub(crate) fn seconds(self) -> i64 {
        days(self.year, self.month, self.day) * DAY + i64::from(self.second)
    }

    pub(crate) fn hour(self) -> u32 {
        self.second / 3600
    }

    pub(crate) fn minute(self) -> u32 {
        self.second / 60 % 60
    }
}

/// Days from 1970-01-01 to this date. The month may be 13 or more, and then counts into the years that follow.
///
/// Both directions count in eras of 400 years that begin in March, as in H. Hinnant, "chrono-compatible low-level date
/// algorithms".
pub(crate) fn days(year: i64, month: u32, day: u32) -> i64 {
    let months = year * 12 + i64::from(month) - 1 - 2;
    let (year, from_march) = (months.div_euclid(12), months.rem_euclid(12));
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date this many days after 1970-01-01.
pub(crate) fn date(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month as u32, day as u32)
}

/// The day of the week; 0 is Sunday.
pub(crate) fn weekday(days: i64) -> u32 {
    (days + 4).rem_euclid(7) as u32
}

/// How many days this month has.
pub(crate) fn length(year: i64, month: u32) -> u32 {
    match month {
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_inverse_over_a_whole_era_and_follow_each_other() {
        let first = days(1900, 1, 1);
        let (mut year, mut month, mut day) = (1900, 1, 1);
        for number in first..first + 146_097 {
            assert_eq!((date(number), days(year, month, day)), ((year, month, day), number));
            day += 1;
            if day > length(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2300, 1, 1));
    }

    #[test]
    fn known_days_are_what_they_were() {
        assert_eq!((days(1970, 1, 1), weekday(0)), (0, 4));
        assert_eq!(weekday(days(2000, 2, 29)), 2);
        assert_eq!(weekday(days(2026, 11, 26)), 4);
        assert_eq!(days(2025, 13, 1), days(2026, 1, 1));
    }

    #[test]
    fn a_second_is_a_date_and_a_time() {
        let at = Civil { year: 1969, month: 12, day: 31, second: 86_399 };
        assert_eq!((Civil::of(-1), at.seconds()), (at, -1));
        assert_eq!((at.hour(), at.minute()), (23, 59));
    }
}
