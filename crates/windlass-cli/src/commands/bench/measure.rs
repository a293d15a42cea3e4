//! What a stretch of work costs: time, CPU of this process and of the store's own, memory.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use windlass::{Client, Error, Monotonic};

/// A stretch of work under way.
pub(crate) struct Meter {
    client: Client,
    began: Monotonic,
    cpu: Duration,
    store_cpu: Option<Duration>,
}

/// What it cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
    /// None: the store has no process of its own.
    pub(crate) store_cpu: Option<Duration>,
    pub(crate) peak_rss_bytes: Option<u64>,
}

impl Meter {
    pub(crate) async fn start(client: &Client) -> Result<Self, Error> {
        // Where the system lets us, each stretch has its own peak.
        let _ = fs::write("/proc/self/clear_refs", "5");
        let store_cpu = client.store().cpu().await?;
        Ok(Self { client: client.clone(), store_cpu, cpu: cpu(), began: client.env().monotonic() })
    }

    /// The cost until now.
    pub(crate) async fn stop(self) -> Result<Cost, Error> {
        let now = self.client.env().monotonic();
        self.stop_at(now).await
    }

    /// The cost until a moment that has just been.
    pub(crate) async fn stop_at(self, end: Monotonic) -> Result<Cost, Error> {
        let cpu = cpu().saturating_sub(self.cpu);
        let store_cpu = self.client.store().cpu().await?;
        let store_cpu = store_cpu.zip(self.store_cpu).map(|(now, before)| now.saturating_sub(before));
        Ok(Cost { took: end.since(self.began), cpu, store_cpu, peak_rss_bytes: peak_rss() })
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
