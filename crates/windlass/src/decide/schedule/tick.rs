//! How a tick is called, and by how much its job is put off: alike in every process, so that whoever takes over comes to
//! the same name and the same moment.

use std::{fmt, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use crate::job::{InvalidJob, JobId, Timestamp};

/// The name of a tick: its schedule, the schedule's generation (which a change of its rule raises), and the instant.
///
/// ```
/// use windlass::{TickId, Timestamp};
/// let tick = TickId::new("weekly", 3, "2026-03-01T09:00:00Z".parse().unwrap());
/// assert_eq!(tick.to_string(), "weekly/3/2026-03-01T09:00:00.000000Z");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct TickId {
    /// The name of the schedule.
    pub schedule: Arc<str>,
    /// Which version of the schedule's rule it belongs to.
    pub generation: u64,
    /// When it is due, whatever its jitter.
    pub at: Timestamp,
}

impl TickId {
    /// Names a tick.
    pub fn new(schedule: impl Into<Arc<str>>, generation: u64, at: Timestamp) -> Self {
        Self { schedule: schedule.into(), generation, at }
    }

    /// The id of the job that this tick enqueues.
    ///
    /// # Errors
    /// When the name of the schedule holds control characters or is too long for an id.
    pub fn job_id(&self) -> Result<JobId, InvalidJob> {
        self.to_string().parse()
    }

    /// By how much the job is put off, less than `most`: it follows from the schedule's name and the instant, evenly
    /// spread. Zero of zero.
    pub fn jitter(&self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        let hash =
            Sha256::new().chain_update(self.at.as_micros().to_le_bytes()).chain_update(&*self.schedule).finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        Duration::from_micros(u64::from_le_bytes(bytes).checked_rem(most).unwrap_or(0))
    }
}

impl fmt::Display for TickId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.schedule, self.generation, self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn jitter(schedule: &str, generation: u64, second: i64) -> Duration {
        TickId::new(schedule, generation, Timestamp::from_micros(second * 1_000_000)).jitter(MINUTE)
    }

    #[test]
    fn jitter_is_spread_over_its_span_and_differs_by_schedule_and_tick() {
        let of_ticks: Vec<_> = (0..1000).map(|hour| jitter("a", 0, hour * 3600)).collect();
        let of_schedules: Vec<_> = (0..1000).map(|number| jitter(&format!("s{number}"), 0, 3600)).collect();
        for sample in [of_ticks, of_schedules] {
            assert!(sample.iter().all(|jitter| *jitter < MINUTE));
            let halves = sample.iter().filter(|jitter| **jitter < MINUTE / 2).count();
            assert!((400..600).contains(&halves), "{halves}");
        }
    }

    #[test]
    fn jitter_is_the_same_in_every_process_and_generation() {
        // A number that other versions of this program must come to as well.
        assert_eq!(jitter("weekly", 1, 1_772_355_600), Duration::from_micros(23_476_600));
        assert_eq!(jitter("weekly", 1, 1_772_355_600), jitter("weekly", 2, 1_772_355_600));
        assert_eq!(TickId::new("a", 0, Timestamp::default()).jitter(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_tick_of_each_generation_has_an_id_of_its_own() {
        let id = |generation| TickId::new("weekly", generation, Timestamp::default()).job_id().unwrap();
        assert_eq!(id(1).to_string(), "weekly/1/1970-01-01T00:00:00.000000Z");
        assert_ne!(id(1), id(2));
        assert!(TickId::new("a\nb", 0, Timestamp::default()).job_id().is_err());
    }
}
