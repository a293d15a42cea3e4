//! The jobs of the memory store by number, in order of enqueueing: blocks of 1,024 places, so that a job costs no
//! search and what was removed leaves nothing behind once its whole block is empty.

use std::collections::VecDeque;

use super::Job;

const BLOCK: u64 = 1024;

/// Jobs by their number.
#[derive(Default)]
pub(super) struct Table {
    /// Those of the oldest job and after it; what is before it has been removed. An empty one in between is `None`.
    blocks: VecDeque<Option<Block>>,
    /// The number of the first block.
    first: u64,
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
        if self.blocks.is_empty() {
            self.first = seq / BLOCK;
        }
        let place = (seq / BLOCK - self.first) as usize;
        if place >= self.blocks.len() {
            self.blocks.resize_with(place + 1, || None);
        }
        let block = self.blocks[place].get_or_insert_default();
        block.places.resize_with((seq % BLOCK) as usize, || None);
        block.places.push(Some(Box::new(job)));
        block.filled += 1;
        seq
    }

    fn place(&self, seq: u64) -> Option<usize> {
        (seq / BLOCK).checked_sub(self.first).map(|place| place as usize)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Job> {
        let block = self.blocks.get(self.place(seq)?)?.as_ref()?;
        block.places.get((seq % BLOCK) as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Job> {
        let place = self.place(seq)?;
        let block = self.blocks.get_mut(place)?.as_mut()?;
        block.places.get_mut((seq % BLOCK) as usize)?.as_deref_mut()
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Box<Job>> {
        let place = self.place(seq)?;
        let slot = self.blocks.get_mut(place)?;
        let block = slot.as_mut()?;
        let job = block.places.get_mut((seq % BLOCK) as usize)?.take()?;
        block.filled -= 1;
        if block.filled == 0 {
            *slot = None;
            while let Some(None) = self.blocks.front() {
                self.blocks.pop_front();
                self.first += 1;
            }
        }
        Some(job)
    }

    /// The jobs from number `from` on.
    pub(super) fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Job)> {
        let skipped = (from / BLOCK).saturating_sub(self.first);
        let blocks = self.blocks.iter().enumerate().skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        blocks.flat_map(move |(place, block)| {
            let number = self.first + place as u64;
            let numbered = block.iter().flat_map(|block| block.places.iter().enumerate());
            numbered.filter_map(move |(place, job)| {
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
        // Out of the middle first, so that what is in front holds its place.
        (BLOCK..2 * BLOCK).for_each(|seq| assert!(table.remove(seq).is_some()));
        assert!(table.get(BLOCK).is_none() && table.get_mut(BLOCK).is_none() && table.remove(BLOCK).is_none());
        assert_eq!((table.blocks.len(), table.blocks[1].is_none()), (3, true));
        (0..BLOCK).for_each(|seq| assert!(table.remove(seq).is_some()));
        assert_eq!((table.blocks.len(), table.first), (1, 2), "both are gone");
        assert!(table.get(0).is_none(), "what was before the first block");
        (2 * BLOCK..3 * BLOCK).for_each(|seq| assert!(table.remove(seq).is_some()));
        assert!(table.blocks.is_empty());
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
