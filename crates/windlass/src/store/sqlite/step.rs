//! One transaction of the store: the connection, the moment, and the numbers that it moves. The numbers are read once
//! at the start and written once at the end, however many jobs the transaction touches.
//! The writer thread uses it for its groups, and the caller's own transactions for `enqueue_in` and `complete_in`.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, params};
use rustc_hash::FxHashMap;

use super::{clock::Clock, fault::Done, lines::Lines};
use crate::{
    decide::rescue::Pulse,
    job::{Monotonic, State, Timestamp},
    store::{Bucket, Histogram},
};

/// The text of an operation's `.sql` file.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sqlite/sql/", $name, ".sql"))
    };
}
pub(super) use sql;

/// The numbers of `windlass_counter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) back: i64,
    pub(super) front: i64,
    pub(super) fence: i64,
    pub(super) enqueued: i64,
    pub(super) removed: i64,
    pub(super) wake: i64,
    pub(super) wish: i64,
    pub(super) boot: Arc<str>,
    pub(super) pulse: Pulse,
    pub(super) swept: Option<Timestamp>,
}

impl Counters {
    pub(super) fn read(conn: &Connection) -> Done<Self> {
        let counters = conn.prepare_cached(sql!("counters_read"))?.query_row([], |row| {
            Ok(Self {
                back: row.get(0)?,
                front: row.get(1)?,
                fence: row.get(2)?,
                enqueued: row.get(3)?,
                removed: row.get(4)?,
                wake: row.get(5)?,
                wish: row.get(6)?,
                boot: row.get(7)?,
                pulse: Pulse { stamped: Monotonic(row.get(8)?), no_rescue_before: Monotonic(row.get(9)?) },
                swept: row.get::<_, Option<i64>>(10)?.map(Timestamp::from_micros),
            })
        })?;
        Ok(counters)
    }

    /// A sign of life. After a boot of the host whoever held a lease is surely gone, so there is nobody to wait for.
    pub(super) fn stamp(&mut self, clock: &Clock, lease: Duration, ran_late: bool) {
        let pulse = if self.boot == clock.boot { self.pulse } else { Pulse::new(clock.mono) };
        self.boot = clock.boot.clone();
        self.pulse = pulse.stamp(clock.mono, lease, ran_late);
    }

    fn write(&self, conn: &Connection) -> Done<()> {
        conn.prepare_cached(sql!("counters_write"))?.execute(params![
            self.back,
            self.front,
            self.fence,
            self.enqueued,
            self.removed,
            self.wake,
            self.wish,
            &*self.boot,
            self.pulse.stamped.0,
            self.pulse.no_rescue_before.0,
            self.swept.map(Timestamp::as_micros),
        ])?;
        Ok(())
    }
}

/// One transaction under way.
pub(super) struct Step<'c> {
    pub(super) conn: &'c Connection,
    pub(super) clock: Clock,
    pub(super) keep_failed: Duration,
    pub(super) lines: &'c mut Lines,
    pub(super) counters: Counters,
    before: Counters,
    counts: FxHashMap<i64, [i64; 9]>,
    buckets: FxHashMap<i64, Bucket>,
    tenants: FxHashMap<Arc<str>, Bucket>,
}

impl<'c> Step<'c> {
    /// Begins on a connection that is inside a write transaction.
    pub(super) fn begin(conn: &'c Connection, clock: Clock, keep_failed: Duration, lines: &'c mut Lines) -> Done<Self> {
        let counters = Counters::read(conn)?;
        Ok(Self {
            conn,
            clock,
            keep_failed,
            lines,
            before: counters.clone(),
            counters,
            counts: FxHashMap::default(),
            buckets: FxHashMap::default(),
            tenants: FxHashMap::default(),
        })
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now.as_micros()
    }

    /// Somebody who waits should look once this is committed.
    pub(super) fn wake(&mut self) {
        if self.counters.wake == self.before.wake {
            self.counters.wake += 1;
        }
    }

    /// The next place in line.
    pub(super) fn place(&mut self, front: bool) -> i64 {
        self.wake();
        let place = if front { &mut self.counters.front } else { &mut self.counters.back };
        let taken = *place;
        *place += if front { -1 } else { 1 };
        taken
    }

    /// The next fence: above all others, and seeded from the clock, so that no restore of the file repeats one.
    pub(super) fn next_fence(&mut self) -> i64 {
        self.counters.fence = (self.counters.fence + 1).max(self.now().saturating_mul(1000));
        self.counters.fence
    }

    /// A job came into a state, left one, or both.
    pub(super) fn moved(&mut self, line: i64, from: Option<State>, to: Option<State>) {
        let counts = self.counts.entry(line).or_default();
        if let Some(from) = from {
            counts[from.code() as usize] -= 1;
        }
        if let Some(to) = to {
            counts[to.code() as usize] += 1;
        }
        match (from, to) {
            (None, Some(_)) => self.counters.enqueued += 1,
            (Some(_), None) => self.counters.removed += 1,
            _ => {}
        }
    }

    /// The bucket of this minute for a line.
    pub(super) fn bucket(&mut self, line: i64) -> &mut Bucket {
        self.buckets.entry(line).or_default()
    }

    /// The bucket of this minute for a tenant.
    pub(super) fn tenant_bucket(&mut self, tenant: Arc<str>) -> &mut Bucket {
        self.tenants.entry(tenant).or_default()
    }

    /// Writes the numbers; the transaction may commit then. Answers the counters as they are now.
    pub(super) fn end(mut self) -> Done<Counters> {
        for (line, counts) in std::mem::take(&mut self.counts) {
            if counts.iter().any(|count| *count != 0) {
                let [a, b, c, d, e, f, g, h, i] = counts;
                let counts = params![line, a, b, c, d, e, f, g, h, i];
                self.conn.prepare_cached(sql!("line_count"))?.execute(counts)?;
            }
        }
        for (line, bucket) in std::mem::take(&mut self.buckets) {
            self.write_bucket(line, bucket)?;
        }
        for (tenant, bucket) in std::mem::take(&mut self.tenants) {
            self.write_tenant(&tenant, bucket)?;
        }
        if self.counters != self.before {
            self.counters.write(self.conn)?;
        }
        Ok(self.counters)
    }

    fn write_bucket(&self, line: i64, mut bucket: Bucket) -> Done<()> {
        let minute = self.clock.now.minute();
        let old =
            self.conn.prepare_cached(sql!("bucket_read"))?.query_row(params![minute, line], bucket_of).optional()?;
        if let Some(old) = old {
            bucket.merge(&old);
        }
        self.conn.prepare_cached(sql!("bucket_write"))?.execute(params![
            minute,
            line,
            bucket.completed,
            bucket.retried,
            bucket.dead,
            bucket.cancelled,
            bucket.duration_us,
            bucket.wait.to_bytes(),
            bucket.run.to_bytes(),
        ])?;
        Ok(())
    }

    fn write_tenant(&self, tenant: &str, mut bucket: Bucket) -> Done<()> {
        let minute = self.clock.now.minute();
        let old = self
            .conn
            .prepare_cached(sql!("tenant_bucket_read"))?
            .query_row(params![minute, tenant], bucket_of)
            .optional()?;
        if let Some(old) = old {
            bucket.merge(&old);
        }
        self.conn.prepare_cached(sql!("tenant_bucket_write"))?.execute(params![
            minute,
            tenant,
            bucket.completed,
            bucket.retried,
            bucket.dead,
            bucket.cancelled,
            bucket.duration_us,
            bucket.wait.to_bytes(),
            bucket.run.to_bytes(),
        ])?;
        Ok(())
    }
}

/// Reads completed, retried, dead, cancelled, duration_us, wait, run. A damaged histogram counts as an empty one: the
/// counts are worth more than the file's refusal.
pub(super) fn bucket_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Bucket> {
    let histogram = |column: usize| -> rusqlite::Result<Histogram> {
        Ok(Histogram::from_bytes(row.get_ref(column)?.as_blob().unwrap_or_default()).unwrap_or_default())
    };
    Ok(Bucket {
        completed: row.get(0)?,
        retried: row.get(1)?,
        dead: row.get(2)?,
        cancelled: row.get(3)?,
        duration_us: row.get(4)?,
        wait: histogram(5)?,
        run: histogram(6)?,
    })
}
