//! The jobs of the memory store by number, in order of enqueueing: blocks of 1,024 places, so that a job costs no
//! search and what was removed leaves nothing behind once its whole block is empty.

use std::collections::BTreeMap;

use super::Job;

const BLOCK: u64 = 1024;

/// Jobs by their number.
#[derive(Default)]
pub(super) struct Table {
    blocks: BTreeMap<u64, Block>,
    next: u64,
}

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
        let block = self.blocks.entry(seq / BLOCK).or_insert_with(|| Block { places: Vec::new(), filled: 0 });
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
        }
        Some(job)
    }

    /// The jobs from number `from` on.
    pub(super) fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Job)> {
        self.blocks.range(from / BLOCK..).flat_map(move |(block, inner)| {
            let numbered = inner.places.iter().enumerate();
            numbered.filter_map(move |(place, job)| {
                let seq = block * BLOCK + place as u64;
                job.as_deref().filter(|_| seq >= from).map(|job| (seq, job))
            })
        })
    }
}
