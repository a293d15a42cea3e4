//! What a stretch of work costs this process: time, CPU, memory.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use windlass::{Env, Monotonic};

/// A stretch of work under way.
pub(crate) struct Meter {
    env: Env,
    began: Monotonic,
    cpu: Duration,
}

/// What it cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak_rss_bytes: Option<u64>,
}

impl Meter {
    pub(crate) fn start(env: &Env) -> Self {
        // Where the system lets us, each stretch has its own peak.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self { env: env.clone(), cpu: cpu(), began: env.monotonic() }
    }

    /// The cost until now.
    pub(crate) fn stop(self) -> Cost {
        let now = self.env.monotonic();
        self.stop_at(now)
    }

    /// The cost until a moment that has just been.
    pub(crate) fn stop_at(self, end: Monotonic) -> Cost {
        Cost { took: end.since(self.began), cpu: cpu().saturating_sub(self.cpu), peak_rss_bytes: peak_rss() }
    }
}

/// User and system time of all threads.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The value below which this part of all lie, in milliseconds.
pub(crate) fn quantile_ms(sorted: &[Duration], part: f64) -> Option<f64> {
    let rank = (part * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).map(|time| time.as_secs_f64() * 1000.0)
}
