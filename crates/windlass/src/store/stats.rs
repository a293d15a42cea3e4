//! Numbers about finished runs: minute buckets of counts, sums and histograms, and what people read out of them.
//! Stores write a bucket with each finish, so the numbers do not depend on how long jobs are kept. Pure data.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, ser::SerializeMap};

use super::{Census, ServerInfo};
use crate::job::{State, Status};

/// A histogram of durations with four steps to each doubling: a quantile is off by an eighth at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        self.add(slot_of(duration), 1);
    }

    fn add(&mut self, slot: usize, count: u64) {
        if self.counts.len() <= slot {
            self.counts.resize(slot + 1, 0);
        }
        self.counts[slot] += count;
    }

    /// Adds all that another one counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (slot, count) in other.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.add(slot, *count);
        }
    }

    /// Counts several durations of one slot, as a store keeps them apart. A slot that there is not is left out.
    #[cfg(any(feature = "redis", feature = "postgres"))]
    pub(crate) fn add_to(&mut self, slot: usize, count: u64) {
        if slot < SLOTS {
            self.add(slot, count);
        }
    }

    /// How many it counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration below which this part (0 to 1) of all lie; none when it counted nothing.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = (part.clamp(0.0, 1.0) * self.total() as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank && *count > 0 {
                return Some(Duration::from_micros(middle(slot)));
            }
        }
        None
    }

    /// The mean in milliseconds, from the middles of the steps; none when it counted nothing.
    fn mean_ms(&self) -> Option<f64> {
        let sum: u128 =
            (0..).zip(&self.counts).map(|(slot, count)| u128::from(middle(slot)) * u128::from(*count)).sum();
        (self.total() > 0).then(|| sum as f64 / 1000.0 / self.total() as f64)
    }

    fn quantile_ms(&self, part: f64) -> Option<f64> {
        self.quantile(part).map(|duration| duration.as_micros() as f64 / 1000.0)
    }

    /// A compact form: pairs of slot and count as variable-length numbers.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (slot, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            bytes.push(slot as u8);
            let mut rest = *count;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; none if it is damaged.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut histogram = Self::default();
        while let [slot, rest @ ..] = bytes {
            let mut count = 0u64;
            let length = rest.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
            for (place, byte) in rest[..length].iter().enumerate() {
                count |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
            }
            if *slot as usize >= SLOTS {
                return None;
            }
            histogram.add(*slot as usize, count);
            bytes = &rest[length..];
        }
        Some(histogram)
    }
}

/// 0 to 3 have a slot each; from there four slots to each doubling, up to 2^64.
const SLOTS: usize = 252;

/// The slot of a duration: what a histogram counts it in.
pub(crate) fn slot_of(duration: Duration) -> usize {
    slot(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

fn slot(micros: u64) -> usize {
    if micros < 4 {
        return micros as usize;
    }
    let exponent = 63 - micros.leading_zeros() as usize;
    (exponent - 1) * 4 + ((micros >> (exponent - 2)) & 3) as usize
}

/// The middle of a slot.
fn middle(slot: usize) -> u64 {
    if slot < 4 {
        return slot as u64;
    }
    let exponent = slot / 4 + 1;
    let step = 1u64 << (exponent - 2);
    (1u64 << exponent) + (slot as u64 % 4) * step + step / 2
}

/// What ended in one minute, of one queue and kind. Durations are sums of microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Bucket {
    pub completed: u64,
    pub retried: u64,
    pub dead: u64,
    pub cancelled: u64,
    /// Sum over completed jobs of completed - created.
    pub duration_us: u64,
    pub wait: Histogram,
    pub run: Histogram,
}

impl Bucket {
    /// Counts a job's arrival in a state that ends a run or a life.
    pub fn count(&mut self, to: State) {
        match to {
            State::Completed => self.completed += 1,
            State::Retrying => self.retried += 1,
            State::Dead => self.dead += 1,
            State::Cancelled => self.cancelled += 1,
            _ => {}
        }
    }

    /// Counts a job that became a part of another one, and its whole life.
    pub fn count_flushed(&mut self, lifetime: Duration) {
        self.completed += 1;
        self.live(lifetime);
    }

    fn live(&mut self, lifetime: Duration) {
        let micros = u64::try_from(lifetime.as_micros()).unwrap_or(u64::MAX);
        self.duration_us = self.duration_us.saturating_add(micros);
    }

    /// Counts a run that ended: how long it stood in line, how long it ran, and (completed) its whole life.
    pub fn count_run(&mut self, to: State, waited: Duration, ran: Duration, lifetime: Duration) {
        self.count(to);
        self.wait.record(waited);
        self.run.record(ran);
        if to == State::Completed {
            self.live(lifetime);
        }
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Bucket) {
        self.completed += other.completed;
        self.retried += other.retried;
        self.dead += other.dead;
        self.cancelled += other.cancelled;
        self.duration_us = self.duration_us.saturating_add(other.duration_us);
        self.wait.merge(&other.wait);
        self.run.merge(&other.run);
    }

    /// Jobs that ended dead or cancelled.
    pub fn failed(&self) -> u64 {
        self.dead + self.cancelled
    }
}

/// The buckets of a span of time, added up.
#[derive(Clone, Debug, Default)]
pub struct Tallies {
    /// Per queue and kind.
    pub lines: Vec<TallyLine>,
    /// Per tenant.
    pub tenants: BTreeMap<String, Bucket>,
}

/// The sum of one queue and kind.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct TallyLine {
    pub queue: String,
    pub kind: String,
    pub bucket: Bucket,
}

/// By what statistics are broken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dimension {
    Queue,
    Kind,
    Tenant,
}

/// What people read: counts now, and what ended since a moment. Serializes as the `stats` document of the command
/// line; durations are milliseconds.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use windlass::{Client, store::Dimension};
/// let client = Client::open("memory:").await?;
/// let stats = client.stats(Some(Duration::from_secs(3600)), Some(Dimension::Queue)).await?;
/// println!("{} waiting, {} running", stats.pending, stats.running);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct Stats {
    /// pending + running + completed + failed.
    pub total: u64,
    /// Now: pending, scheduled, blocked, aggregating or retrying.
    pub pending: u64,
    /// Now.
    pub running: u64,
    /// Ended well since the moment.
    pub completed: u64,
    /// Ended dead or cancelled since the moment.
    pub failed: u64,
    /// Attempts that failed and will be tried again, since the moment.
    pub retried: u64,
    pub avg_duration_ms: f64,
    pub avg_wait_ms: f64,
    pub p50_wait_ms: f64,
    pub p95_wait_ms: f64,
    pub p99_wait_ms: f64,
    pub avg_run_ms: f64,
    pub p50_run_ms: f64,
    pub p95_run_ms: f64,
    pub p99_run_ms: f64,
    /// Jobs that ever came in = the sum of `by_state` + `removed`.
    pub enqueued: u64,
    pub removed: u64,
    #[serde(serialize_with = "states")]
    pub by_state: [u64; 9],
    #[serde(serialize_with = "queues")]
    pub by_queue: BTreeMap<String, [u64; 9]>,
    pub servers: Vec<ServerInfo>,
    /// The breakdown that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<GroupStats>,
}

/// The statistics of one queue, kind or tenant.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct GroupStats {
    pub name: String,
    /// Now, by queue; kinds and tenants are not counted as they wait.
    pub pending: Option<u64>,
    pub running: Option<u64>,
    pub completed: u64,
    pub failed: u64,
    pub retried: u64,
    pub avg_duration_ms: f64,
    /// None where no run was measured. So are those that follow.
    pub avg_wait_ms: Option<f64>,
    pub p50_wait_ms: Option<f64>,
    pub p95_wait_ms: Option<f64>,
    pub p99_wait_ms: Option<f64>,
    pub avg_run_ms: Option<f64>,
    pub p50_run_ms: Option<f64>,
    pub p95_run_ms: Option<f64>,
    pub p99_run_ms: Option<f64>,
}

impl Stats {
    /// Puts the counts, the sums and the servers together.
    pub fn new(census: &Census, tallies: &Tallies, servers: Vec<ServerInfo>, by: Option<Dimension>) -> Self {
        let mut by_state = [0; 9];
        for queue in &census.queues {
            by_state.iter_mut().zip(queue.by_state).for_each(|(sum, count)| *sum += count);
        }
        let mut all = Bucket::default();
        tallies.lines.iter().for_each(|line| all.merge(&line.bucket));
        let whole = GroupStats::new(String::new(), &all);
        let (pending, running) = (of_status(&by_state, Status::Pending), of_status(&by_state, Status::Running));
        Self {
            total: pending + running + whole.completed + whole.failed,
            pending,
            running,
            completed: whole.completed,
            failed: whole.failed,
            retried: whole.retried,
            avg_duration_ms: whole.avg_duration_ms,
            avg_wait_ms: whole.avg_wait_ms.unwrap_or(0.0),
            p50_wait_ms: whole.p50_wait_ms.unwrap_or(0.0),
            p95_wait_ms: whole.p95_wait_ms.unwrap_or(0.0),
            p99_wait_ms: whole.p99_wait_ms.unwrap_or(0.0),
            avg_run_ms: whole.avg_run_ms.unwrap_or(0.0),
            p50_run_ms: whole.p50_run_ms.unwrap_or(0.0),
            p95_run_ms: whole.p95_run_ms.unwrap_or(0.0),
            p99_run_ms: whole.p99_run_ms.unwrap_or(0.0),
            enqueued: census.enqueued,
            removed: census.removed,
            by_state,
            by_queue: census.queues.iter().map(|queue| (queue.name.to_string(), queue.by_state)).collect(),
            servers,
            items: by.map(|by| groups(census, tallies, by)).unwrap_or_default(),
        }
    }
}

fn of_status(by_state: &[u64; 9], status: Status) -> u64 {
    let states = State::ALL.iter().filter(|state| state.status() == status);
    states.map(|state| by_state[state.code() as usize]).sum()
}

/// What has ended, and of queues what is there now as well.
fn groups(census: &Census, tallies: &Tallies, by: Dimension) -> Vec<GroupStats> {
    let mut groups: BTreeMap<&str, Bucket> = BTreeMap::new();
    match by {
        Dimension::Queue => tallies.lines.iter().for_each(|l| groups.entry(&l.queue).or_default().merge(&l.bucket)),
        Dimension::Kind => tallies.lines.iter().for_each(|l| groups.entry(&l.kind).or_default().merge(&l.bucket)),
        Dimension::Tenant => {
            tallies.tenants.iter().for_each(|(tenant, bucket)| groups.entry(tenant).or_default().merge(bucket));
        }
    }
    let mut now = BTreeMap::new();
    for queue in census.queues.iter().filter(|_| by == Dimension::Queue) {
        let counts = [Status::Pending, Status::Running].map(|status| of_status(&queue.by_state, status));
        now.insert(queue.name.as_str(), counts);
        if counts != [0, 0] {
            groups.entry(queue.name.as_str()).or_default();
        }
    }
    let group = |(name, bucket): (&str, Bucket)| {
        let [pending, running] = now.get(name).map_or([None, None], |counts| counts.map(Some));
        GroupStats { pending, running, ..GroupStats::new(name.to_owned(), &bucket) }
    };
    groups.into_iter().map(group).collect()
}

impl GroupStats {
    fn new(name: String, bucket: &Bucket) -> Self {
        let Bucket { wait, run, .. } = bucket;
        Self {
            name,
            pending: None,
            running: None,
            completed: bucket.completed,
            failed: bucket.failed(),
            retried: bucket.retried,
            avg_duration_ms: bucket.duration_us as f64 / 1000.0 / bucket.completed.max(1) as f64,
            avg_wait_ms: wait.mean_ms(),
            p50_wait_ms: wait.quantile_ms(0.5),
            p95_wait_ms: wait.quantile_ms(0.95),
            p99_wait_ms: wait.quantile_ms(0.99),
            avg_run_ms: run.mean_ms(),
            p50_run_ms: run.quantile_ms(0.5),
            p95_run_ms: run.quantile_ms(0.95),
            p99_run_ms: run.quantile_ms(0.99),
        }
    }
}

struct ByState<'a>(&'a [u64; 9]);

impl Serialize for ByState<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        states(self.0, serializer)
    }
}

pub(crate) fn states<S: serde::Serializer>(counts: &[u64; 9], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(9))?;
    for state in State::ALL {
        map.serialize_entry(state.as_str(), &counts[state.code() as usize])?;
    }
    map.end()
}

fn queues<S: serde::Serializer>(queues: &BTreeMap<String, [u64; 9]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(queues.iter().map(|(name, counts)| (name, ByState(counts))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_an_eighth_at_most() {
        let mut histogram = Histogram::default();
        (1..=10_000u64).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        for (part, exact) in [(0.5, 5000.0), (0.99, 9900.0), (1.0, 10_000.0)] {
            let shown = histogram.quantile(part).unwrap().as_micros() as f64;
            assert!((shown / exact - 1.0).abs() <= 0.125, "{part}: {shown}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        let mean = histogram.mean_ms().unwrap();
        assert!((mean / 5.0005 - 1.0).abs() <= 0.125, "{mean}");
        assert_eq!(Histogram::default().mean_ms(), None);
    }

    #[test]
    fn every_duration_has_a_slot_and_slots_rise() {
        let mut last = 0;
        for exponent in 0..64 {
            for offset in [0, 1, 3] {
                let at = slot((1u64 << exponent) + offset * ((1u64 << exponent) >> 2));
                assert!(at >= last && at < SLOTS);
                last = at;
            }
        }
        assert_eq!(slot(u64::MAX), SLOTS - 1);
    }

    #[test]
    fn a_histogram_survives_its_compact_form_and_a_damaged_one_is_refused() {
        let mut histogram = Histogram::default();
        for micros in [0, 1, 5, 5, 1_000_000, u64::MAX / 2] {
            histogram.record(Duration::from_micros(micros));
        }
        (0..1000).for_each(|_| histogram.record(Duration::from_micros(77)));
        assert_eq!(Histogram::from_bytes(&histogram.to_bytes()), Some(histogram));
        assert_eq!(Histogram::from_bytes(&[3]), None);
        assert_eq!(Histogram::from_bytes(&[255, 1]), None);
    }
}
