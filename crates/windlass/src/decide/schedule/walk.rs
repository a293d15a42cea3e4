//! Which second robfig/cron v3 calls the next one. The search goes field by field and forward in steps, because what it
//! finds near a change of the clock follows from those very steps: a day begins at midnight or as near to it as the zone
//! allows, hours are hours of real time.

use super::{
    asynq::{Fields, STAR},
    civil::{self, Civil, DAY},
    zone::Zone,
};

/// After this many years without a match there is none.
const YEARS: i64 = 5;

impl Fields {
    /// The first match after this second.
    pub(super) fn next(&self, zone: Zone, after: i64) -> Option<i64> {
        let empty = |set: u64| set & !STAR == 0;
        let no_day = if (self.of_month | self.of_week) & STAR != 0 {
            empty(self.of_month) || empty(self.of_week)
        } else {
            empty(self.of_month) && empty(self.of_week)
        };
        if no_day || [self.minute, self.hour, self.month].into_iter().any(empty) {
            return None;
        }
        let mut walk = Walk { zone, at: after + 1, moved: false };
        let last_year = walk.wall().year + YEARS;
        while walk.wall().year <= last_year {
            let arrived = self.to_month(&mut walk)
                && self.to_day(&mut walk)
                && self.to_hour(&mut walk)
                && self.to_minute(&mut walk);
            if arrived && walk.reach_second() {
                return Some(walk.at);
            }
        }
        None
    }

    /// Goes on to a month that matches; false when a year began on the way.
    fn to_month(&self, walk: &mut Walk) -> bool {
        while self.month & 1 << walk.wall().month == 0 {
            walk.cut(|wall| Civil { day: 1, second: 0, ..wall });
            let wall = walk.wall();
            let first = civil::days(wall.year, wall.month + 1, 1) + i64::from(wall.day) - 1;
            walk.at = walk.zone_date(first * DAY + i64::from(wall.second));
            if walk.wall().month == 1 {
                return false;
            }
        }
        true
    }

    /// Goes on to a day that matches; false when a month began on the way.
    fn to_day(&self, walk: &mut Walk) -> bool {
        while !self.matches_day(walk.wall()) {
            walk.cut(|wall| Civil { second: 0, ..wall });
            let (wall, from) = (walk.wall().seconds(), walk.at);
            walk.at = walk.zone_date(wall + DAY);
            if walk.at <= from {
                // The zone leaves out the whole day. The original would come back to the day before for ever.
                walk.at = walk.zone_date(wall + 2 * DAY);
            }
            // Where the clock leaves out midnight, the day begins as near to it as there are whole hours.
            let hour = i64::from(walk.wall().hour());
            walk.at += 3600 * if hour > 12 { 24 - hour } else { -hour };
            if walk.wall().day == 1 {
                return false;
            }
        }
        true
    }

    /// Goes on to an hour that matches; false when a day began on the way.
    fn to_hour(&self, walk: &mut Walk) -> bool {
        while self.hour & 1 << walk.wall().hour() == 0 {
            walk.cut(|wall| Civil { second: wall.hour() * 3600, ..wall });
            walk.at += 3600;
            if walk.wall().hour() == 0 {
                return false;
            }
        }
        true
    }

    /// Goes on to a minute that matches; false when an hour began on the way.
    fn to_minute(&self, walk: &mut Walk) -> bool {
        while self.minute & 1 << walk.wall().minute() == 0 {
            if !walk.moved {
                walk.moved = true;
                walk.at -= walk.at.rem_euclid(60);
            }
            walk.at += 60;
            if walk.wall().minute() == 0 {
                return false;
            }
        }
        true
    }

    fn matches_day(&self, wall: Civil) -> bool {
        let weekday = civil::weekday(civil::days(wall.year, wall.month, wall.day));
        let (by_month, by_week) = (self.of_month & 1 << wall.day != 0, self.of_week & 1 << weekday != 0);
        if (self.of_month | self.of_week) & STAR != 0 { by_month && by_week } else { by_month || by_week }
    }
}

/// A moment that goes forward until all fields match.
struct Walk {
    zone: Zone,
    at: i64,
    /// Something was stepped over, so that what is smaller than the step has been set to its beginning.
    moved: bool,
}

impl Walk {
    fn wall(&self) -> Civil {
        Civil::of(self.at + self.zone.offset(self.at))
    }

    /// Before the first step: back to the beginning of the month, the day or the hour.
    fn cut(&mut self, begin: impl FnOnce(Civil) -> Civil) {
        if !self.moved {
            self.moved = true;
            self.at = self.zone_date(begin(self.wall()).seconds());
        }
    }

    /// The moment at which the wall shows this, as Go's time.Date chooses it where there are two or none.
    fn zone_date(&self, local: i64) -> i64 {
        let guess = local - self.zone.offset(local);
        local - self.zone.offset(guess)
    }

    /// Goes on to second 0; false when a minute began on the way.
    fn reach_second(&mut self) -> bool {
        let rest = i64::from(self.wall().second % 60);
        if rest == 0 {
            return true;
        }
        self.moved = true;
        self.at += 60 - rest;
        false
    }
}
