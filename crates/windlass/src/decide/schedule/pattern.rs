//! When the clock on the wall matches: the fields of a cron spec as sets, and the search for the next match. Knows no
//! zones: what a wall shows twice or never is in `wall.rs`.

use super::civil::{self, Civil, DAY};

/// The calendar repeats itself, weekdays included, after this many years: what does not match within them never does.
const CYCLE: i64 = 400;
/// Nothing is due after this year.
const LAST_YEAR: i64 = 9999;

/// The times and dates that match. In each set bit `n` stands for the number `n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) seconds: u64,
    pub(crate) minutes: u64,
    pub(crate) hours: u32,
    pub(crate) months: u32,
    pub(crate) days: Days,
}

/// The days that match: those of the month and those of the week.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Days {
    /// Days of the month, 1 to 31.
    pub(crate) of_month: u32,
    /// `L` and `L-n`: days before the last one, 0 to 30.
    pub(crate) before_last: u32,
    /// `nW`: the weekday (Monday to Friday) nearest to the day, in the same month.
    pub(crate) nearest: u32,
    /// `LW`: the last weekday.
    pub(crate) last_weekday: bool,
    /// Days of the week; 0 is Sunday.
    pub(crate) of_week: u32,
    /// `d#n`: bit `n` of day `d`, 1 to 5.
    pub(crate) nth: [u32; 7],
    /// `dL`: the last such day of the month.
    pub(crate) last_of_week: u32,
    /// Days of the month begin with a star, and so do days of the week. With one of them a day must be in both sets,
    /// otherwise in one.
    pub(crate) starred: (bool, bool),
}

impl Pattern {
    /// The first match at or after this moment of the wall, if there ever is one.
    pub(crate) fn first_from(&self, local: i64) -> Option<i64> {
        let start = Civil::of(local);
        let last_year = (start.year + CYCLE).min(LAST_YEAR);
        let (mut year, mut month) = (start.year, start.month);
        let today = self.days_of(year, month);
        if today & 1 << start.day != 0
            && let Some(second) = self.time_from(start.second)
        {
            return Some(Civil { second, ..start }.seconds());
        }
        let mut left = today & (!1 << start.day);
        loop {
            if left != 0 {
                let (day, second) = (left.trailing_zeros(), self.time_from(0)?);
                return Some(civil::days(year, month, day) * DAY + i64::from(second));
            }
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            if year > last_year {
                return None;
            }
            left = self.days_of(year, month);
        }
    }

    /// The first matching time of day at or after this second.
    fn time_from(&self, second: u32) -> Option<u32> {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let at = |hour, minute, second| hour * 3600 + minute * 60 + second;
        if self.hours & 1 << hour != 0 {
            if self.minutes & 1 << minute != 0
                && let Some(second) = from(self.seconds, second)
            {
                return Some(at(hour, minute, second));
            }
            if let (Some(minute), Some(second)) = (from(self.minutes, minute + 1), from(self.seconds, 0)) {
                return Some(at(hour, minute, second));
            }
        }
        Some(at(from(self.hours.into(), hour + 1)?, from(self.minutes, 0)?, from(self.seconds, 0)?))
    }

    /// The days of this month that match.
    pub(crate) fn days_of(&self, year: i64, month: u32) -> u32 {
        if self.months & 1 << month == 0 {
            return 0;
        }
        let shape = Month { length: civil::length(year, month), first: civil::weekday(civil::days(year, month, 1)) };
        let (by_month, by_week) = (self.days.by_month(shape), self.days.by_week(shape));
        let both = self.days.starred.0 || self.days.starred.1;
        if both { by_month & by_week } else { by_month | by_week }
    }
}

/// How a month lies in the week.
#[derive(Clone, Copy)]
struct Month {
    length: u32,
    /// The weekday of its first day.
    first: u32,
}

impl Month {
    fn weekday(self, day: u32) -> u32 {
        (self.first + day - 1) % 7
    }

    /// Monday to Friday.
    fn works(self, day: u32) -> bool {
        !matches!(self.weekday(day), 0 | 6)
    }
}

impl Days {
    fn by_month(&self, month: Month) -> u32 {
        let all = (!0 >> (31 - month.length)) - 1;
        let mut days = self.of_month & all;
        for before in numbers(self.before_last).filter(|before| *before < month.length) {
            days |= 1 << (month.length - before);
        }
        for day in numbers(self.nearest).filter(|day| *day <= month.length) {
            days |= 1 << nearest_weekday(month, day);
        }
        if self.last_weekday {
            let last = (1..=month.length).rev().find(|day| month.works(*day));
            days |= last.map_or(0, |day| 1 << day);
        }
        days
    }

    fn by_week(&self, month: Month) -> u32 {
        let matches = |day: &u32| {
            let weekday = month.weekday(*day);
            self.of_week & 1 << weekday != 0
                || self.nth[weekday as usize] & 1 << day.div_ceil(7) != 0
                || (self.last_of_week & 1 << weekday != 0 && day + 7 > month.length)
        };
        (1..=month.length).filter(matches).fold(0, |days, day| days | 1 << day)
    }
}

/// The weekday nearest to the day that is not in another month.
fn nearest_weekday(month: Month, day: u32) -> u32 {
    match month.weekday(day) {
        6 if day == 1 => 3,
        6 => day - 1,
        0 if day == month.length => day - 2,
        0 => day + 1,
        _ => day,
    }
}

/// The first number of the set that is at least this.
fn from(set: u64, least: u32) -> Option<u32> {
    let left = if least < 64 { set & (!0 << least) } else { 0 };
    (left != 0).then(|| left.trailing_zeros())
}

/// The numbers of a set.
fn numbers(set: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |number| set & 1 << number != 0)
}
