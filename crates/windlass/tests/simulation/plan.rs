//! What happens in one simulation, drawn from its seed: servers, jobs, operators and faults. Runs nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use windlass::testing::Faults;

/// The lease of every simulated server: the default.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// How long completed jobs are kept, if they are.
pub(crate) const KEPT: Duration = Duration::from_secs(3600);
/// The queues, of which the first server serves all.
pub(crate) const QUEUES: [&str; 3] = ["critical", "default", "low"];

/// The groups, in each queue.
pub(crate) const GROUPS: [&str; 2] = ["sim:a", "sim:b"];

/// The exclusive keys, in each queue.
pub(crate) const KEYS: [&str; 2] = ["key-a", "key-b"];

/// A small generator with a stream of its own (SplitMix64), so that the plan does not depend on what runs.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to below `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll() % 100 < chance
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}

/// What a job's handler does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Script {
    /// Takes this long and ends well.
    Runs { ms: u64 },
    /// Fails this many attempts, then ends well.
    Fails { times: u32, ms: u64 },
    /// Panics in this many attempts, then ends well.
    Panics { times: u32 },
    /// Is put off this many times, then ends well.
    Snoozes { times: u32, ms: u64 },
    /// Will never work.
    Buries,
    /// Ends well and has this many jobs follow.
    Chains { jobs: u32 },
    /// Runs until it is told to stop, for at most half a minute.
    Waits,
    /// Takes so many steps, and makes a checkpoint after each.
    Steps { steps: u32, ms: u64 },
    /// Takes its process down.
    Kills,
}

/// One job and when a client enqueues it.
#[derive(Clone, Debug)]
pub(crate) struct JobPlan {
    pub(crate) at: Duration,
    pub(crate) id: String,
    pub(crate) script: Script,
    pub(crate) queue: &'static str,
    pub(crate) priority: i32,
    pub(crate) max_retry: u32,
    pub(crate) retention: Duration,
    pub(crate) wait: Duration,
    pub(crate) timeout: Duration,
    pub(crate) group: Option<&'static str>,
    pub(crate) exclusive: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerPlan {
    pub(crate) slots: usize,
    pub(crate) queues: Vec<(&'static str, u32)>,
    pub(crate) strict: bool,
    pub(crate) prefetch: u32,
    /// Hears no hints and has to poll.
    pub(crate) deaf: bool,
    pub(crate) killer_limit: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Cancel(String),
    Redrive(String),
    Delete(String),
    RunNow(String),
    Pause(&'static str),
    Resume(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Kill the server in this place; another one starts this much later.
    Kill {
        place: usize,
        back: Duration,
    },
    /// Shut it down in good order; another one starts at once, before it is gone.
    Replace {
        place: usize,
    },
    Freeze {
        place: usize,
        time: Duration,
    },
    Cut {
        place: usize,
        time: Duration,
    },
    Outage {
        time: Duration,
    },
    Step {
        micros: i64,
    },
}

/// Which faults a plan has; plans of one kind allow harder checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// The store is away for some time, and nothing else.
    Outages,
    /// Processes are killed and replaced, and the wall clock steps.
    Kills,
    /// Processes are frozen.
    Freezes,
    /// All of it, over a network that loses and delays.
    Storm,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) weather: Weather,
    pub(crate) network: Faults,
    pub(crate) servers: Vec<ServerPlan>,
    pub(crate) jobs: Vec<JobPlan>,
    pub(crate) wishes: Vec<(Duration, Wish)>,
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// From here on nothing goes wrong.
    pub(crate) calm: Duration,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = &mut Dice::new(seed);
        let weather = match seed % 5 {
            0 => Weather::Outages,
            1 => Weather::Kills,
            2 => Weather::Freezes,
            _ => Weather::Storm,
        };
        let calm = dice.millis(25_000, 60_000);
        let servers: Vec<_> = (0..dice.between(2, 5)).map(|place| server(dice, place == 0)).collect();
        let jobs: Vec<_> = (0..dice.between(20, 81)).map(|number| job(dice, weather, number, calm)).collect();
        let wishes = (0..dice.between(0, 30)).map(|_| (dice.millis(0, calm.as_millis() as u64), wish(dice, &jobs)));
        let wishes = sorted(wishes.collect());
        let mut faults: Vec<_> = (0..dice.between(1, 9))
            .map(|_| (dice.millis(1_000, 40_000), fault(dice, weather, servers.len())))
            .collect();
        faults = sorted(faults);
        let last_outage = faults.iter().map(|(at, fault)| match fault {
            Fault::Outage { time } | Fault::Freeze { time, .. } | Fault::Cut { time, .. } => *at + *time,
            _ => *at,
        });
        let calm = last_outage.max().unwrap_or_default().max(calm) + Duration::from_secs(2);
        Self { weather, network: network(dice, weather), servers, jobs, wishes, faults, calm }
    }
}

fn sorted<T>(mut list: Vec<(Duration, T)>) -> Vec<(Duration, T)> {
    list.sort_by_key(|(at, _)| *at);
    list
}

fn network(dice: &mut Dice, weather: Weather) -> Faults {
    let timeout = dice.millis(50, 1000);
    let quick = Faults { delay: dice.millis(1, 20), timeout, ..Faults::default() };
    match weather {
        Weather::Outages => quick,
        _ => Faults {
            lost_requests: dice.between(0, 30) as u32,
            lost_replies: dice.between(0, 60) as u32,
            delayed: dice.between(0, 20) as u32,
            // In a storm, calls arrive that their callers have long given up.
            long_delay: if weather == Weather::Storm { dice.millis(200, 15_000) } else { dice.millis(200, 1_500) },
            ..quick
        },
    }
}

fn server(dice: &mut Dice, first: bool) -> ServerPlan {
    let mut queues: Vec<_> = QUEUES.iter().map(|queue| (*queue, dice.between(1, 7) as u32)).collect();
    if !first {
        queues.truncate(dice.between(1, 4) as usize);
    }
    ServerPlan {
        slots: dice.between(1, 7) as usize,
        queues,
        strict: dice.percent(20),
        prefetch: if dice.percent(50) { 16 } else { 0 },
        deaf: dice.percent(20),
        killer_limit: dice.percent(30),
    }
}

fn script(dice: &mut Dice, weather: Weather) -> Script {
    match dice.between(0, 100) {
        0..35 => Script::Runs { ms: dice.between(0, 300) },
        35..42 => Script::Runs { ms: dice.between(8_000, 25_000) },
        42..45 => Script::Steps { steps: dice.between(3, 12) as u32, ms: dice.between(100, 2_500) },
        45..60 => Script::Fails { times: dice.between(1, 5) as u32, ms: dice.between(0, 1_000) },
        60..65 => Script::Panics { times: dice.between(1, 3) as u32 },
        65..75 => Script::Snoozes { times: dice.between(1, 4) as u32, ms: dice.between(100, 3_000) },
        75..80 => Script::Buries,
        80..88 => Script::Chains { jobs: dice.between(1, 4) as u32 },
        88..95 => Script::Waits,
        _ if matches!(weather, Weather::Kills | Weather::Storm) && dice.percent(50) => Script::Kills,
        _ => Script::Runs { ms: dice.between(1_000, 4_000) },
    }
}

fn job(dice: &mut Dice, weather: Weather, number: u64, calm: Duration) -> JobPlan {
    let (group, exclusive) = match dice.between(0, 100) {
        0..25 => (Some(GROUPS[dice.between(0, 2) as usize]), None),
        25..45 => (None, Some(KEYS[dice.between(0, 2) as usize])),
        _ => (None, None),
    };
    JobPlan {
        at: dice.millis(0, calm.as_millis() as u64),
        id: format!("job-{number:02}"),
        script: script(dice, weather),
        queue: QUEUES[dice.between(0, 3) as usize],
        priority: dice.between(0, 5) as i32 - 2,
        max_retry: dice.between(0, 4) as u32,
        retention: if dice.percent(50) { Duration::ZERO } else { KEPT },
        wait: if dice.percent(25) { dice.millis(100, 8_000) } else { Duration::ZERO },
        timeout: if dice.percent(20) { dice.millis(500, 6_000) } else { Duration::from_secs(1800) },
        group,
        exclusive,
    }
}

fn wish(dice: &mut Dice, jobs: &[JobPlan]) -> Wish {
    let id = jobs[dice.between(0, jobs.len() as u64) as usize].id.clone();
    let queue = QUEUES[dice.between(0, 3) as usize];
    match dice.between(0, 10) {
        0..4 => Wish::Cancel(id),
        4..6 => Wish::Redrive(id),
        6 => Wish::Delete(id),
        7 => Wish::RunNow(id),
        8 => Wish::Pause(queue),
        _ => Wish::Resume(queue),
    }
}

fn fault(dice: &mut Dice, weather: Weather, servers: usize) -> Fault {
    let place = dice.between(0, servers as u64) as usize;
    let kill = |dice: &mut Dice| Fault::Kill { place, back: dice.millis(200, 8_000) };
    let freeze = |dice: &mut Dice| Fault::Freeze { place, time: LEASE.mul_f64(dice.between(30, 301) as f64 / 100.0) };
    let step = |dice: &mut Dice| Fault::Step { micros: (dice.between(0, 14_401) as i64 - 7_200) * 1_000_000 };
    let outage = |dice: &mut Dice| Fault::Outage { time: dice.millis(1_000, 60_000) };
    match (weather, dice.between(0, 100)) {
        (Weather::Outages, _) => outage(dice),
        (Weather::Kills, 0..65) | (Weather::Storm, 0..30) => kill(dice),
        (Weather::Kills, 65..85) | (Weather::Storm, 30..40) => Fault::Replace { place },
        (Weather::Freezes, 0..85) | (Weather::Storm, 40..60) => freeze(dice),
        (Weather::Storm, 60..75) => Fault::Cut { place, time: dice.millis(500, 30_000) },
        (Weather::Storm, 75..90) => outage(dice),
        _ => step(dice),
    }
}
