//! The changes of the clocks of sixty zones from 2000 to 2037, against a search by brute force: every second within three
//! hours of a change, every minute within 26 hours, looked up on the wall one by one, and the policies applied to what
//! was seen there. By itself a part of the changes; `WINDLASS_CRON_FULL=1` takes all.

use std::{collections::HashMap, ops::Add};

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike};
use chrono_tz::Tz;

use super::super::{Fold, Gap, ScheduleSpec, Timestamp};

const ZONES: [&str; 60] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Johannesburg",
    "Africa/Juba",
    "Africa/Lagos",
    "Africa/Tripoli",
    "Africa/Windhoek",
    "America/Anchorage",
    "America/Argentina/San_Luis",
    "America/Asuncion",
    "America/Bogota",
    "America/Caracas",
    "America/Chicago",
    "America/Denver",
    "America/Halifax",
    "America/Havana",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/Montevideo",
    "America/New_York",
    "America/Nuuk",
    "America/Port-au-Prince",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Scoresbysund",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Baghdad",
    "Asia/Baku",
    "Asia/Beirut",
    "Asia/Damascus",
    "Asia/Dhaka",
    "Asia/Gaza",
    "Asia/Hong_Kong",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Asia/Yerevan",
    "Atlantic/Azores",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Chisinau",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Europe/London",
    "Europe/Moscow",
    "Europe/Volgograd",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Easter",
    "Pacific/Fiji",
    "Pacific/Norfolk",
];

/// A spec, and the same in plain words of code.
struct Case {
    spec: &'static str,
    real_time: bool,
    matches: fn(NaiveDateTime) -> bool,
}

/// Specs that tick at whole minutes.
const BY_MINUTE: [Case; 7] = [
    Case { spec: "30 2 * * *", real_time: false, matches: |at| at.hour() == 2 && at.minute() == 30 },
    Case { spec: "0 0 * * *", real_time: false, matches: |at| at.hour() == 0 && at.minute() == 0 },
    Case {
        spec: "1,31 0-3,23 * * *",
        real_time: false,
        matches: |at| (at.hour() <= 3 || at.hour() == 23) && matches!(at.minute(), 1 | 31),
    },
    Case {
        spec: "59 1 L * SUN",
        real_time: false,
        matches: |at| {
            let last = (at.date() + TimeDelta::days(1)).day() == 1;
            (last || at.weekday() == chrono::Weekday::Sun) && at.hour() == 1 && at.minute() == 59
        },
    },
    Case { spec: "*/25 * * * *", real_time: true, matches: |at| at.minute() % 25 == 0 },
    Case { spec: "10 */2 * * *", real_time: true, matches: |at| at.minute() == 10 && at.hour() % 2 == 0 },
    Case { spec: "0 0-23 * * *", real_time: true, matches: |at| at.minute() == 0 },
];

/// Specs that tick at seconds.
const BY_SECOND: [Case; 3] = [
    Case {
        spec: "7 30 0,1,2,3 * * *",
        real_time: false,
        matches: |at| at.second() == 7 && at.minute() == 30 && at.hour() <= 3,
    },
    Case {
        spec: "0,59 0,59 22-4 * * *",
        real_time: false,
        matches: |at| {
            matches!(at.second(), 0 | 59) && matches!(at.minute(), 0 | 59) && (at.hour() >= 22 || at.hour() <= 4)
        },
    },
    Case {
        spec: "*/17 59 1 * * *",
        real_time: true,
        matches: |at| at.second() % 17 == 0 && at.minute() == 59 && at.hour() == 1,
    },
];

fn wall(zone: Tz, utc: i64) -> NaiveDateTime {
    DateTime::from_timestamp(utc, 0).unwrap().with_timezone(&zone).naive_local()
}

/// The moments at which the clock of a zone changes: looked for in steps of six hours, then minute by minute.
fn changes(zone: Tz) -> Vec<i64> {
    const SIX_HOURS: i64 = 6 * 3600;
    let (begin, end) = (946_684_800, 2_145_916_800); // 2000 and 2038
    let ahead = |utc| wall(zone, utc).and_utc().timestamp() - utc;
    let mut found = Vec::new();
    for from in (begin..end).step_by(SIX_HOURS as usize).filter(|from| ahead(*from) != ahead(from + SIX_HOURS)) {
        let minutes = (from + 60..=from + SIX_HOURS).step_by(60);
        found.extend(minutes.filter(|at| ahead(*at) != ahead(at - 60)));
    }
    found
}

/// What a wall shows around a change: the moments and what each of them shows, one step after the other.
struct Seen {
    step: i64,
    from: i64,
    until: i64,
    walls: Vec<(i64, NaiveDateTime)>,
}

impl Seen {
    /// Looks at each step within `near` of the change, and as far again, where times may come a second time.
    fn new(zone: Tz, change: i64, near: i64, step: i64) -> Self {
        let (from, until) = (change - near, change + near);
        let margin = 26 * 3600;
        let mut walls = Vec::new();
        let mut minute = from - margin;
        while minute < until + margin {
            let shown = wall(zone, minute);
            walls.extend(
                (0..60).step_by(step as usize).map(|second| (minute + second, shown + TimeDelta::seconds(second))),
            );
            minute += 60;
        }
        Self { step, from, until, walls }
    }

    /// The moments that match, with what the wall shows then, and the ends of gaps in which something would have.
    fn matching(&self, case: &Case) -> (Vec<(i64, NaiveDateTime)>, Vec<i64>) {
        let matching = self.walls.iter().filter(|(_, wall)| (case.matches)(*wall)).copied().collect();
        let step = TimeDelta::seconds(self.step);
        let left_out = self.walls.windows(2).filter(|pair| {
            let mut skipped = pair[0].1 + step;
            let mut found = false;
            while skipped < pair[1].1 {
                found |= (case.matches)(skipped);
                skipped += step;
            }
            found
        });
        (matching, left_out.map(|pair| pair[1].0).collect())
    }

    /// The ticks within the span, by these policies.
    fn ticks(&self, found: &(Vec<(i64, NaiveDateTime)>, Vec<i64>), real_time: bool, gap: Gap, fold: Fold) -> Vec<i64> {
        let (matching, left_out) = found;
        let mut seen: HashMap<NaiveDateTime, (i64, i64)> = HashMap::new();
        for (at, wall) in matching {
            seen.entry(*wall).or_insert((*at, *at)).1 = *at;
        }
        let keep = |(at, wall): &&(i64, NaiveDateTime)| match fold {
            _ if real_time => true,
            Fold::First => seen[wall].0 == *at,
            Fold::Second => seen[wall].1 == *at,
            Fold::Both => true,
        };
        let mut ticks: Vec<i64> = matching.iter().filter(keep).map(|(at, _)| *at).collect();
        if !real_time && gap == Gap::RunAfter {
            ticks.extend(left_out);
        }
        ticks.retain(|at| (self.from..=self.until).contains(at));
        ticks.sort_unstable();
        ticks.dedup();
        ticks
    }
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    /// Specs around a change, under each policy.
    all: u32,
    /// Those for which the policy makes a difference.
    telling: u32,
}

impl Add for Compared {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { all: self.all + other.all, telling: self.telling + other.telling }
    }
}

/// Compares what a spec says around a change with what was seen, under each policy.
fn compare(zone: &str, cases: &[Case], seen: &Seen) -> Compared {
    let mut compared = Compared::default();
    for case in cases {
        let spec = ScheduleSpec::parse(case.spec).unwrap().timezone(zone).unwrap();
        let found = seen.matching(case);
        let by_default = seen.ticks(&found, case.real_time, Gap::default(), Fold::default());
        for (gap, fold) in [
            (Gap::RunAfter, Fold::First),
            (Gap::RunAfter, Fold::Second),
            (Gap::RunAfter, Fold::Both),
            (Gap::Skip, Fold::First),
            (Gap::Skip, Fold::Second),
            (Gap::Skip, Fold::Both),
        ] {
            let expected = seen.ticks(&found, case.real_time, gap, fold);
            let spec = spec.clone().gap(gap).fold(fold);
            let second = |tick: Timestamp| tick.as_micros() / 1_000_000;
            let ticks = spec.ticks_after(Timestamp::from_micros((seen.from - 1) * 1_000_000)).map(second);
            let ticks: Vec<i64> = ticks.take_while(|at| *at <= seen.until).collect();
            assert_eq!(
                ticks,
                expected,
                "{} in {zone}, {gap:?}, {fold:?}, around {}",
                case.spec,
                (seen.from + seen.until) / 2
            );
            compared = compared + Compared { all: 1, telling: u32::from(expected != by_default) };
        }
    }
    compared
}

/// Every `part`th change, beginning at another one in each zone.
fn check(part: usize) -> Compared {
    let of_zone = |(number, name): (usize, &&str)| {
        let zone: Tz = name.parse().unwrap();
        let changes = changes(zone);
        let some = changes.iter().skip(number % part).step_by(part);
        let compared = some.map(|change| {
            compare(name, &BY_MINUTE, &Seen::new(zone, *change, 26 * 3600, 60))
                + compare(name, &BY_SECOND, &Seen::new(zone, *change, 3 * 3600, 1))
        });
        compared.fold(Compared::default(), Compared::add)
    };
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let zones = ZONES.iter().enumerate().filter(move |(number, _)| number % 2 == half);
            scope.spawn(move || zones.map(of_zone).fold(Compared::default(), Compared::add))
        });
        halves.into_iter().map(|half| half.join().unwrap()).fold(Compared::default(), Compared::add)
    })
}

#[test]
fn sixty_zones_tick_around_each_change_of_their_clocks_as_a_search_by_brute_force_says() {
    let part = if std::env::var_os("WINDLASS_CRON_FULL").is_some() { 1 } else { 16 };
    let compared = check(part);
    println!("{compared:?}");
    assert!(compared.all > 10_000 && compared.telling > 1500, "{compared:?}");
}
