//! The interned pairs of queue and kind, remembered by each process. They are never removed, so what was read stays
//! true; only what a rolled-back transaction made has to be forgotten.

use rusqlite::{Connection, OptionalExtension, params};
use rustc_hash::FxHashMap;

use super::{fault::Done, step::sql};
use crate::job::{Kind, QueueName};

#[derive(Default)]
pub(super) struct Lines {
    ids: FxHashMap<QueueName, FxHashMap<Kind, i64>>,
    names: FxHashMap<i64, (QueueName, Kind)>,
    listed_up_to: i64,
}

impl Lines {
    /// The number of a queue's kind, if there is one.
    pub(super) fn find(&mut self, conn: &Connection, queue: &QueueName, kind: &Kind) -> Done<Option<i64>> {
        if let Some(id) = self.ids.get(queue).and_then(|kinds| kinds.get(kind)) {
            return Ok(Some(*id));
        }
        let names = params![queue.as_str(), kind.as_str()];
        let found = conn.prepare_cached(sql!("line_find"))?.query_row(names, |row| row.get(0)).optional()?;
        if let Some(id) = found {
            self.ids.entry(queue.clone()).or_default().insert(kind.clone(), id);
        }
        Ok(found)
    }

    /// Makes a line for a queue's kind that has none.
    pub(super) fn add(&mut self, conn: &Connection, queue: &QueueName, kind: &Kind) -> Done<i64> {
        let names = params![queue.as_str(), kind.as_str()];
        let id = conn.prepare_cached(sql!("line_add"))?.query_row(names, |row| row.get(0))?;
        self.ids.entry(queue.clone()).or_default().insert(kind.clone(), id);
        Ok(id)
    }

    /// Reads those that have come since the last look.
    pub(super) fn refresh(&mut self, conn: &Connection) -> Done<()> {
        let mut statement = conn.prepare_cached(sql!("line_list"))?;
        let mut rows = statement.query([self.listed_up_to])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let queue = QueueName::trusted(row.get::<_, String>(1)?);
            let kind = Kind::trusted(row.get::<_, String>(2)?);
            self.ids.entry(queue.clone()).or_default().insert(kind.clone(), id);
            self.names.insert(id, (queue, kind));
            self.listed_up_to = self.listed_up_to.max(id);
        }
        Ok(())
    }

    /// The queue and kind of a line, as of the last [`refresh`](Self::refresh).
    pub(super) fn names(&self, line: i64) -> Option<&(QueueName, Kind)> {
        self.names.get(&line)
    }
}
