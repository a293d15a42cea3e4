//! The jobs of the memory store by number, in order of enqueueing: blocks of 1,024 places, so that a job costs no
//! search and what was removed leaves nothing behind once its whole block is empty.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::Job;

const BLOCK: u64 = 1024;

/// Jobs by their number.
#[derive(Default)]
pub(super) struct Table {
    blocks: FxHashMap<u64, Block>,
    /// The numbers of the blocks that are there, for those who go through all.
    order: BTreeSet<u64>,
    next: u64,
}

#[derive(Default)]
struct Block {
    places: Vec<Option<Box<Job>>>,
    filled: u32,
}

impl Table {
    /// The number that the next job gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn push(&mut self, job: Job) -> u64 {
        let seq = self.next;
        self.next += 1;
        let block = self.blocks.entry(seq / BLOCK).or_insert_with(|| {
            self.order.insert(seq / BLOCK);
            Block::default()
        });
        block.places.resize_with((seq % BLOCK) as usize, || None);
        block.places.push(Some(Box::new(job)));
        block.filled += 1;
        seq
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Job> {
        self.blocks.get(&(seq / BLOCK))?.places.get((seq % BLOCK) as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Job> {
        self.blocks.get_mut(&(seq / BLOCK))?.places.get_mut((seq % BLOCK) as usize)?.as_deref_mut()
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Box<Job>> {
        let block = self.blocks.get_mut(&(seq / BLOCK))?;
        let job = block.places.get_mut((seq % BLOCK) as usize)?.take()?;
        block.filled -= 1;
        if block.filled == 0 {
            self.blocks.remove(&(seq / BLOCK));
            self.order.remove(&(seq / BLOCK));
        }
        Some(job)
    }

    /// The jobs from number `from` on.
    pub(super) fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Job)> {
        let blocks = self.order.range(from / BLOCK..).filter_map(|number| Some((number, self.blocks.get(number)?)));
        blocks.flat_map(move |(number, block)| {
            block.places.iter().enumerate().filter_map(move |(place, job)| {
                let seq = number * BLOCK + place as u64;
                job.as_deref().filter(|_| seq >= from).map(|job| (seq, job))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobOptions, JobRecord, Kind, State, Timestamp};

    fn table(jobs: u64) -> Table {
        let mut table = Table::default();
        (0..jobs).for_each(|_| _ = table.push(job()));
        table
    }

    fn job() -> Job {
        let options = JobOptions::default().id("a");
        let new = options.resolve(&Kind::new("k").unwrap(), "{}".into(), || unreachable!("it has an id"), 64).unwrap();
        let record = JobRecord::new(new.spec, State::Pending, Timestamp::default());
        Job { record, line: 0, turn: 0, suspect: false, lease: 0, expires: None, said: None }
    }

    fn numbers(table: &Table, from: u64) -> Vec<u64> {
        table.iter_from(from).map(|(seq, _)| seq).collect()
    }

    #[test]
    fn a_block_goes_with_the_last_of_its_jobs_and_the_numbers_go_on() {
        let mut table = table(3 * BLOCK);
        (BLOCK..2 * BLOCK).for_each(|seq| assert!(table.remove(seq).is_some()));
        assert!(table.get(BLOCK).is_none() && table.get_mut(BLOCK).is_none() && table.remove(BLOCK).is_none());
        assert_eq!((table.blocks.len(), table.order.len()), (2, 2));
        (0..BLOCK).for_each(|seq| assert!(table.remove(seq).is_some()));
        assert_eq!(table.order.iter().collect::<Vec<_>>(), [&2]);
        assert!(table.get(0).is_none());
        (2 * BLOCK..3 * BLOCK).for_each(|seq| assert!(table.remove(seq).is_some()));
        assert!(table.blocks.is_empty() && table.order.is_empty(), "one that is removed leaves nothing behind");
        assert_eq!(table.push(job()), 3 * BLOCK);
        assert!(table.get(3 * BLOCK).is_some());
    }

    #[test]
    fn a_listing_begins_anywhere() {
        let mut table = table(BLOCK + 3);
        table.remove(BLOCK);
        assert_eq!(numbers(&table, BLOCK - 1), [BLOCK - 1, BLOCK + 1, BLOCK + 2]);
        assert_eq!(numbers(&table, BLOCK + 2), [BLOCK + 2]);
        assert!(numbers(&table, u64::MAX).is_empty());
        (0..BLOCK).for_each(|seq| _ = table.remove(seq));
        assert_eq!(numbers(&table, 0), [BLOCK + 1, BLOCK + 2]);
    }
}
